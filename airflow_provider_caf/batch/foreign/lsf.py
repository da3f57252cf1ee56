"""LSF: `bjobs` for what is there and was lately, `bhist` for the rest.

* The id of an array names all its elements; indices count from 1, and 0 is a plain job.
* An id that is not known has a record of its own that says so, with the number of the job alone. It may be that of one
  element, of an array whose other elements are known.
* A job that has left `bjobs` is looked for in all event files, by the id of its array.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from airflow_provider_caf.batch.evidence import Native
from airflow_provider_caf.batch.foreign.base import (
    Glimpse,
    Look,
    Target,
    Told,
    covers_number,
    cut_targets,
    list_texts,
    make_target,
    refuse_find,
)
from airflow_provider_caf.batch.spec import Command, CommandResult
from airflow_provider_caf.batch.systems.lsf import (
    HISTORY_TIMEOUT,
    NOT_FOUND,
    QUERY_HINT,
    TIMEOUT,
    build_find,
    build_question,
    check_control,
    read_ends,
    read_index,
    read_lookup,
    read_native,
    read_records,
)
from airflow_provider_caf.batch.systems.refusals import show_all_output
from airflow_provider_caf.core.errors import PollError

_ID = re.compile(r"(\d{1,12})(?:\[(\d{1,8})\])?", re.ASCII)
_IDS_OF_A_COMMAND = 4000
"""Ids of 23 characters: 90 kB."""


class LSFJobs:
    """Jobs of anybody on LSF."""

    forms = "4242 (a job or a whole array), 4242[7] (one element)"
    memory = (
        "bjobs shows what is over for CLEAN_PERIOD (an hour by default), bhist for as long as the site keeps the event "
        "files and lets the user read them."
    )
    good = frozenset({"DONE"})
    keeps_history = True

    def parse_id(self, text: str) -> Target | None:
        """Read `4242` or `4242[7]`. There is no element 0."""
        match = _ID.fullmatch(text)
        if match is None or (match[2] is not None and int(match[2]) == 0):
            return None
        return make_target(self, str(int(match[1])), None if match[2] is None else int(match[2]))

    def name_element(self, job: str, index: int | None) -> str:
        """Return `4242[7]`."""
        return job if index is None else f"{job}[{index}]"

    covers = staticmethod(covers_number)

    def build_find(self, name: str) -> Command:
        """Return the command that looks for the name in queue and history: without `-u`, among the jobs of who asks."""
        return build_find(name)

    def parse_find(self, name: str, result: CommandResult) -> tuple[str, ...]:
        """Read the ids.

        :raises PollError: if the queue did not answer.
        """
        found = read_lookup(name, result)
        if found is None:
            raise refuse_find(name, result, show_all_output(result))
        return found.ids

    def build_query(self, targets: Sequence[Target]) -> tuple[Look, ...]:
        """Return one `bjobs` for all."""
        return tuple(
            Look(command=build_question(list_texts(part)), targets=part)
            for part in cut_targets(targets, _IDS_OF_A_COMMAND)
        )

    def parse_query(self, look: Look, result: CommandResult) -> Told:
        """Read the records.

        :raises PollError: if it is no answer.
        """
        records = read_records(f"{result.stdout}\n{result.stderr}")
        if records is None:
            raise PollError(
                f"bjobs gave no answer (exit code {result.exit_code}): {show_all_output(result)}", hint=QUERY_HINT
            )
        glimpses = []
        ill: dict[str, str] = {}
        answered = set()
        for record in records:
            job, error = str(record["JOBID"]).partition("[")[0], record.get("ERROR")
            answered.add(job)
            if error is not None:
                if NOT_FOUND.search(str(error)) is None:
                    ill[job] = str(error)
            elif not isinstance(record.get("STAT"), str):
                ill[job] = f"a record of job {job} has no STAT"
            else:
                glimpses.append(self._glimpse(job, read_index(record), read_native(record)))
        problems = {target: ill[target.job] for target in look.targets if target.job in ill}
        silent = [target for target in look.targets if target.job not in answered]
        problems.update((target, f"bjobs says nothing of it: {show_all_output(result)}") for target in silent)
        return Told(glimpses=tuple(glimpses), problems=problems)

    def build_history(self, targets: Sequence[Target]) -> tuple[Look, ...]:
        """Return the `bhist` command that searches all event files."""
        whole = tuple(dict.fromkeys(make_target(self, target.job, None) for target in targets))
        return tuple(
            Look(
                command=Command(argv=("bhist", "-l", "-n", "0", *list_texts(part)), timeout=HISTORY_TIMEOUT),
                targets=part,
            )
            for part in cut_targets(whole, _IDS_OF_A_COMMAND)
        )

    def parse_history(self, look: Look, result: CommandResult) -> Told:
        """Read how jobs ended. One whose end is not in the history stays missing.

        :raises PollError: if it is no history.
        """
        blocks = read_ends(result)
        return Told(glimpses=tuple(self._glimpse(block.id, block.index, block.end) for block in blocks if block.end))

    def build_cancel(self, targets: Sequence[Target]) -> tuple[Command, ...]:
        """Return the `bkill` commands."""
        return tuple(
            Command(argv=("bkill", *list_texts(part)), timeout=TIMEOUT)
            for part in cut_targets(targets, _IDS_OF_A_COMMAND)
        )

    def parse_cancel(self, result: CommandResult) -> None:
        """Check the answer.

        :raises PollError: if LSF did not take the command.
        """
        check_control(f"The jobs {' '.join(result.argv[1:])}"[:300], result, "cancelled")

    def _glimpse(self, job: str, index: int, native: Native) -> Glimpse:
        place = index or None
        return Glimpse(id=self.name_element(job, place), job=job, index=place, native=native)
