"""PBS and Torque: `qstat` in the full form, see `batch.systems.pbs` for what its answers are like.

* `4242` is a plain job and `4242[]` an array; the number alone finds no array.
* Single elements are asked for together with their array, which says whether it is held. `-t` would give all of them.
* An answer shows the server's full name behind each number, whatever was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from airflow_provider_caf.batch.foreign.base import Glimpse, Look, Target, Told, make_target, refuse_find
from airflow_provider_caf.batch.spec import Command, CommandResult
from airflow_provider_caf.batch.systems.base import LookedUp
from airflow_provider_caf.batch.systems.pbs import (
    CANCEL_TIMEOUT,
    NO_HISTORY,
    Job,
    PBSSystem,
    check_change,
    cut_words,
    drop_borrowed,
    parse_jobs,
    read_lookup,
)
from airflow_provider_caf.batch.systems.torque import TorqueSystem
from airflow_provider_caf.batch.systems.torque import check_change as check_torque_change
from airflow_provider_caf.batch.systems.torque import read_lookup as read_torque_lookup

_ID = re.compile(r"(\d{1,12})(?:(\[)(\d{0,10})\])?((?:\.[A-Za-z0-9][A-Za-z0-9_-]*)*)", re.ASCII)
_LONGEST_ID = 300
_LONGEST_ARGUMENTS = 50_000
"""Bytes of ids in one command. The ids of their arrays may come to that again."""

# Both, always: where there is no history the first one says so with exit code 0, and prints no id.
_FIND = 'user=$(id -un); qselect -x -u "$user" -N "$1" && exec qselect -u "$user" -N "$1"'
_LIST = "id -un && exec qstat -f"
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*", re.ASCII)


class PBSJobs:
    """Jobs of anybody on OpenPBS or PBS Professional."""

    forms = "4242 (a job), 4242[] (a whole array), 4242[7] (one element), each with or without .server"
    memory = (
        "qstat -x shows what is over for job_history_duration (two weeks by default) where the server keeps a history "
        "(job_history_enable); else a job that has ended is unknown at once."
    )
    good = frozenset({"F", "X"})
    keeps_history = True
    _system: PBSSystem = PBSSystem()

    def parse_id(self, text: str) -> Target | None:
        """Read `4242`, `4242[]` and `4242[7]`, with or without a server."""
        match = _ID.fullmatch(text)
        if match is None or len(text) > _LONGEST_ID:
            return None
        job = f"{int(match[1])}{'[]' if match[2] else ''}{match[4]}"
        return make_target(self, job, int(match[3]) if match[3] else None)

    def name_element(self, job: str, index: int | None) -> str:
        """Return `4242[7].server`."""
        return job if index is None else job.replace("[]", f"[{index}]", 1)

    def covers(self, target: Target, job: str, index: int | None, number: str) -> bool:
        """Return whether a job is the one that was asked for: a server may be named in short, or not at all."""
        asked, _, at = target.job.partition(".")
        found, _, server = job.partition(".")
        return asked == found and f"{server}.".startswith(f"{at}." if at else "") and target.index in (None, index)

    def build_find(self, name: str) -> Command:
        """Return the command that looks for the name in queue and history."""
        return Command(argv=("/bin/sh", "-c", _FIND, "caf-find", name))

    def parse_find(self, name: str, result: CommandResult) -> tuple[str, ...]:
        """Read the ids.

        :raises PollError: if the server has not answered.
        """
        found = read_lookup(result)
        if found is None:
            raise refuse_find(name, result)
        return found.ids

    def build_query(self, targets: Sequence[Target]) -> tuple[Look, ...]:
        """Return one `qstat` for whole jobs and one for single elements, with what is over."""
        return self._build_looks(targets, ("-x",))

    def parse_query(self, look: Look, result: CommandResult) -> Told:
        """Read the jobs.

        :raises PollError: if the answer is not one of `qstat`, or was cut off.
        """
        if NO_HISTORY in result.stderr and not result.stdout.strip():
            return Told()
        return self._read(look, result, has_history=True)

    def build_history(self, targets: Sequence[Target]) -> tuple[Look, ...]:
        """Return the query for a server that keeps no history: the same without `-x`."""
        return self._build_looks(targets, ())

    def parse_history(self, look: Look, result: CommandResult) -> Told:
        """Read the answer to the second question.

        :raises PollError: if the answer is not one of `qstat`, or was cut off.
        """
        return self._read(look, result, has_history=False)

    def build_cancel(self, targets: Sequence[Target]) -> tuple[Command, ...]:
        """Return the `qdel` commands."""
        parts = cut_words(target.text for target in targets)
        return tuple(Command(argv=("qdel", *part), timeout=CANCEL_TIMEOUT) for part in parts)

    def parse_cancel(self, result: CommandResult) -> None:
        """Check the answer of `qdel`.

        :raises PollError: if the server did not take the command.
        """
        check_change(f"The jobs {' '.join(result.argv[1:])}"[:300], result, "cancelled")

    def _build_looks(self, targets: Sequence[Target], words: Sequence[str]) -> tuple[Look, ...]:
        whole = [target for target in targets if target.index is None]
        single = [target for target in targets if target.index is not None]
        return (
            *_cut(("qstat", *words, "-t", "-f"), whole),
            *_cut(("qstat", *words, "-f"), single, with_arrays=True),
        )

    def _read(self, look: Look, result: CommandResult, *, has_history: bool) -> Told:
        jobs = parse_jobs(result)
        glimpses = tuple(self._read_jobs(jobs, has_history=has_history))
        known: dict[str, list[Glimpse]] = {}
        for glimpse in glimpses:
            known.setdefault(glimpse.job.partition(".")[0], []).append(glimpse)
        problems = {}
        for target in look.targets:
            found = known.get(target.job.partition(".")[0], ())
            if not any(self.covers(target, glimpse.job, glimpse.index, "") for glimpse in found):
                problem = self._system.find_problem(result, target.text)
                if problem is not None:
                    problems[target] = problem
        return Told(glimpses=glimpses, problems=problems)

    def _read_jobs(self, jobs: Mapping[str, Job], *, has_history: bool) -> Iterator[Glimpse]:
        for id, job in jobs.items():
            target = self.parse_id(id)
            # An array is what its elements are.
            if target is None or (target.index is None and "[" in target.job):
                continue
            own = job if target.index is None else drop_borrowed(job, has_history=has_history)
            native = self._system.read_job(own, jobs.get(target.job, {}) if "[" in target.job else {})
            yield Glimpse(id=target.text, job=target.job, index=target.index, native=native)


class TorqueJobs(PBSJobs):
    """Jobs of anybody on Torque."""

    memory = (
        "Torque keeps no history: qstat shows what is over for keep_completed seconds (often five minutes), then the "
        "job is unknown."
    )
    good = frozenset({"C"})
    keeps_history = False
    _system = TorqueSystem()

    def build_find(self, name: str) -> Command:
        """Return the command that says who asks, and lists the queue: `qselect` of Torque does not show all arrays."""
        return Command(argv=("/bin/sh", "-c", _LIST, "caf-find"))

    def parse_find(self, name: str, result: CommandResult) -> tuple[str, ...]:
        """Look for the name among the jobs of who asks.

        :raises PollError: if the server has not answered.
        """
        user, _, listed = result.stdout.partition("\n")
        if _USER.fullmatch(user) is None:
            raise refuse_find(name, result)
        found = read_torque_lookup(replace(result, stdout=listed), name, user)
        if not isinstance(found, LookedUp):
            raise refuse_find(name, result, found)
        return found.ids

    def build_query(self, targets: Sequence[Target]) -> tuple[Look, ...]:
        """Return one command. `-t` stands there only where there is an array: the one over Slurm does not know it."""
        words = ("-f", "-t") if any("[" in target.job for target in targets) else ("-f",)
        return tuple(_cut(("qstat", *words), targets))

    def parse_query(self, look: Look, result: CommandResult) -> Told:
        """Read the jobs.

        :raises PollError: if the answer is not one of `qstat`, or was cut off.
        """
        return self._read(look, result, has_history=True)

    def build_history(self, targets: Sequence[Target]) -> tuple[Look, ...]:
        """Return nothing: there is no history."""
        return ()

    def parse_cancel(self, result: CommandResult) -> None:
        """Check the answer of `qdel`.

        :raises PollError: if the server did not take the command.
        """
        check_torque_change(f"The jobs {' '.join(result.argv[1:])}"[:300], result, "cancelled")


def _cut(argv: Sequence[str], targets: Sequence[Target], *, with_arrays: bool = False) -> Iterator[Look]:
    """Return commands that fit into the arguments of one.

    :param with_arrays: whether to ask for the array of each element, too.
    """
    by_text = {target.text: target for target in targets}
    for part in cut_words(by_text, _LONGEST_ARGUMENTS):
        asked = tuple(by_text[text] for text in part)
        arrays = [target.job for target in asked] if with_arrays else []
        yield Look(command=Command(argv=(*argv, *dict.fromkeys([*arrays, *part]))), targets=asked)
