"""HTCondor: one `condor_q` for all clusters and processes; what has left the queue is asked of `condor_history`.

* Jobs of others leave the queue as soon as they are over, so the history is asked often. It has no index: it is asked
  for the processes that are missing, and stops when it has found them.
* `TotalSubmitProcs` says how many processes a cluster has, also those that are not made yet or have left the queue.
* The name of a job is its `JobBatchName` (`batch_name` in the submit file).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

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
from airflow_provider_caf.batch.systems.htcondor import (
    ATTRIBUTES,
    HISTORY_TIMEOUT,
    IDS_OF_A_COMMAND,
    LOOKUP,
    LOOKUP_TIMEOUT,
    NO_HISTORY,
    SCAN_LIMIT,
    SUBMIT_TIMEOUT,
    UNMATERIALIZED,
    check_action,
    read_ads,
    read_lookup,
    read_native,
    refuse_answer,
)

_ID = re.compile(r"(\d{1,10})(?:\.(\d{1,10}))?", re.ASCII)
_COUNT = "TotalSubmitProcs"
_NEXT = "JobMaterializeNextProcId"
_ASKED = ",".join((*ATTRIBUTES, _COUNT))
_MOST_PROCESSES = 1_000_000
"""More is no cluster, but a number that means something else."""

_OWN = """\
owner=$(condor_config_val USERNAME) || owner=$(id -un)
set -- "$1 && Owner =?= \\"$owner\\""
"""
"""The user for whom HTCondor takes whoever asks. Its tools know it best."""


class HTCondorJobs:
    """Jobs of anybody on HTCondor."""

    forms = "1234 (a cluster), 1234.0 (one process)"
    memory = (
        "condor_history shows what has left the queue until its file is rotated away (MAX_HISTORY_LOG), and only on "
        "the machine of the schedd; some sites keep none."
    )
    good = frozenset({"COMPLETED"})
    keeps_history = True

    def parse_id(self, text: str) -> Target | None:
        """Read `1234` or `1234.0`."""
        match = _ID.fullmatch(text)
        if match is None:
            return None
        return make_target(self, str(int(match[1])), None if match[2] is None else int(match[2]))

    def name_element(self, job: str, index: int | None) -> str:
        """Return `1234.0`."""
        return job if index is None else f"{job}.{index}"

    covers = staticmethod(covers_number)

    def build_find(self, name: str) -> Command:
        """Return the commands that look for the name in queue and history. The only text of a shell is a constant."""
        argv = ("/bin/sh", "-c", _OWN + LOOKUP, "caf-find", f'JobBatchName =?= "{name}"')
        return Command(argv=argv, timeout=LOOKUP_TIMEOUT)

    def parse_find(self, name: str, result: CommandResult) -> tuple[str, ...]:
        """Read the clusters.

        :raises PollError: if queue or history did not answer.
        """
        found = read_lookup(result)
        if found is None:
            raise refuse_find(name, result)
        return found.ids

    def build_query(self, targets: Sequence[Target]) -> tuple[Look, ...]:
        """Return one `condor_q`, or one per thousand ids."""
        return tuple(
            Look(
                # Without the option the queue shows the jobs of the user who asks.
                command=Command(argv=("condor_q", "-allusers", *list_texts(part), "-json", "-attributes", _ASKED)),
                targets=part,
            )
            for part in cut_targets(targets, IDS_OF_A_COMMAND)
        )

    def parse_query(self, look: Look, result: CommandResult) -> Told:
        """Read the records. Nothing at all, with exit code 0, means that the queue has none of them.

        :raises PollError: if the schedd did not answer, or the answer is not whole.
        """
        if result.exit_code != 0:
            raise refuse_answer("The queue", result)
        ads = read_ads("The queue", result)
        told = self._read(ads)
        nexts = {str(ad["ClusterId"]): ad[_NEXT] for ad in ads if isinstance(ad.get(_NEXT), int)}
        seen = {(glimpse.job, glimpse.index) for glimpse in told.glimpses}
        late = tuple(
            self._glimpse(job, index, Native(code=UNMATERIALIZED, reason="it is not made yet"))
            for job, following in nexts.items()
            for index in range(following, told.counts.get(job, 0))
            if (job, index) not in seen
        )
        return Told(glimpses=(*told.glimpses, *late), counts=told.counts)

    def build_history(self, targets: Sequence[Target]) -> tuple[Look, ...]:
        """Return `condor_history`. Of single processes it stops when it has found as many as there are."""
        looks = []
        for chosen in (
            [target for target in targets if target.index is None],
            [target for target in targets if target.index is not None],
        ):
            for part in cut_targets(chosen, IDS_OF_A_COMMAND):
                limit = () if part[0].index is None else ("-limit", str(len(part)))
                argv = (
                    "condor_history",
                    *list_texts(part),
                    *limit,
                    "-scanlimit",
                    str(SCAN_LIMIT),
                    "-json",
                    "-attributes",
                    _ASKED,
                )
                looks.append(Look(command=Command(argv=argv, timeout=HISTORY_TIMEOUT), targets=part))
        return tuple(looks)

    def parse_history(self, look: Look, result: CommandResult) -> Told:
        """Read the records of what has left the queue. A site that keeps no history knows nothing.

        :raises PollError: if it could not be read, or the answer is not whole.
        """
        if result.exit_code != 0:
            if NO_HISTORY.search(result.stderr):
                return Told(has_history=False)
            raise refuse_answer("The history", result)
        return self._read(read_ads("The history", result))

    def build_cancel(self, targets: Sequence[Target]) -> tuple[Command, ...]:
        """Return `condor_rm`: for clusters with the totals, without which it says the same of what it may not end."""
        clusters = [target for target in targets if target.index is None]
        processes = [target for target in targets if target.index is not None]
        return tuple(
            Command(argv=("condor_rm", *words, *list_texts(part)), timeout=SUBMIT_TIMEOUT)
            for words, chosen in ((("-totals",), clusters), ((), processes))
            for part in cut_targets(chosen, IDS_OF_A_COMMAND)
        )

    def parse_cancel(self, result: CommandResult) -> None:
        """Check the answer.

        :raises PollError: if the schedd did not take it.
        """
        ids = [word for word in result.argv[1:] if word != "-totals"]
        check_action(f"The jobs {' '.join(ids)}"[:300], result, "cancelled")

    def _glimpse(self, job: str, index: int, native: Native) -> Glimpse:
        return Glimpse(id=self.name_element(job, index), job=job, index=index, native=native)

    def _read(self, ads: Sequence[Mapping[str, Any]]) -> Told:
        counts = {
            str(ad["ClusterId"]): ad[_COUNT]
            for ad in ads
            if isinstance(ad.get(_COUNT), int) and 0 < ad[_COUNT] <= _MOST_PROCESSES
        }
        glimpses = tuple(self._glimpse(str(ad["ClusterId"]), ad["ProcId"], read_native(ad)) for ad in ads)
        return Told(glimpses=glimpses, counts=counts)
