"""Slurm: one `squeue` and one `sacct` for all jobs of a cluster.

* The id of an array's element is `4242_7`. Beside that it has a number of its own, which is its `$SLURM_JOB_ID`.
* `squeue` leaves out what it does not know. Elements leave it one by one, `MinJobAge` after their end.
* `sacct` is asked for whole jobs: elements that never started stand in one line for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from airflow_provider_caf.batch.evidence import FINAL
from airflow_provider_caf.batch.foreign.base import Glimpse, Look, Target, Told, covers_number, make_target, refuse_find
from airflow_provider_caf.batch.ranges import read_ranges
from airflow_provider_caf.batch.spec import Command, CommandResult
from airflow_provider_caf.batch.systems.base import LookedUp
from airflow_provider_caf.batch.systems.slurm import ENVIRONMENT, build_find, name_cluster, split_id
from airflow_provider_caf.batch.systems.slurm_answers import (
    COLUMNS,
    NUMBER_COLUMN,
    STATES,
    SlurmLine,
    check_done,
    join_id,
    read_history,
    read_lookup,
    read_queue,
)

_ID = re.compile(r"(\d{1,10})(?:_(\d{1,7}))?(?:;([A-Za-z0-9][A-Za-z0-9_.-]{0,63}))?", re.ASCII)
_LARGEST_INDEX = 4_000_000
"""The largest `MaxArraySize` that Slurm takes, less one (`slurm.conf`)."""
_MOST_IDS = 6000
"""Ids of 20 characters; one argument of a command may have 128 kB."""


class SlurmJobs:
    """Jobs of anybody on Slurm."""

    forms = "4242 (a job or a whole array), 4242_7 (one element), 4242;cluster"
    memory = (
        "squeue shows what is over for MinJobAge (5 minutes by default), sacct as long as the database of the site "
        "keeps it; without accounting Slurm keeps no history."
    )
    good = frozenset({"COMPLETED"})
    keeps_history = True

    def parse_id(self, text: str) -> Target | None:
        """Read `4242`, `4242_7`, and both with a cluster, as `sbatch --parsable` prints it: `4242;cluster`."""
        match = _ID.fullmatch(text)
        if match is None:
            return None
        job = join_id(str(int(match[1])), match[3])
        return make_target(self, job, None if match[2] is None else int(match[2]))

    def name_element(self, job: str, index: int | None) -> str:
        """Return `4242_7`, with the cluster behind."""
        number, cluster = split_id(job)
        return join_id(number if index is None else f"{number}_{index}", cluster)

    covers = staticmethod(covers_number)

    def build_find(self, name: str) -> Command:
        """Return the command that looks a name up; the history is searched for 30 days."""
        return build_find(name)

    def parse_find(self, name: str, result: CommandResult) -> tuple[str, ...]:
        """Read the ids.

        :raises PollError: if queue or history did not answer.
        """
        found = read_lookup(result)
        if not isinstance(found, LookedUp):
            raise refuse_find(name, result, found)
        return found.ids

    def build_query(self, targets: Sequence[Target]) -> tuple[Look, ...]:
        """Return one `squeue` for each cluster."""
        columns = ",".join(f"{name}:{width}" for name, width in (NUMBER_COLUMN, *COLUMNS))
        return tuple(
            _build_look(part, cluster, ("squeue", "-h", "-r", "-t", "all", "-O", columns, "-j"))
            for cluster, part in _cut(targets)
        )

    def parse_query(self, look: Look, result: CommandResult) -> Told:
        """Read the lines of `squeue`.

        :raises PollError: if the controller did not answer, or if the answer is cut or something else.
        """
        cluster = split_id(look.targets[0].job)[1]
        lines = read_queue(result, cluster, has_number=True) or ()
        return Told(glimpses=tuple(self._glimpse(line, line.index, cluster) for line in lines))

    def build_history(self, targets: Sequence[Target]) -> tuple[Look, ...]:
        """Return one `sacct` for each cluster."""
        whole = dict.fromkeys(make_target(self, target.job, None) for target in targets)
        columns = "JobIDRaw,JobID,State,ExitCode,NodeList"
        return tuple(
            _build_look(part, cluster, ("sacct", "-X", "-n", "-P", "-o", columns, "-j"))
            for cluster, part in _cut(tuple(whole))
        )

    def parse_history(self, look: Look, result: CommandResult) -> Told:
        """Read the final states. An element that started has a line of its own, which says more than that of all.

        :raises PollError: if the accounting did not answer, or if the answer is cut or something else.
        """
        cluster = split_id(look.targets[0].job)[1]
        lines = read_history(result, has_number=True)
        if lines is None:
            return Told(has_history=False)
        over = [line for line in lines if STATES.get(line.native.code) in FINAL]
        found: dict[tuple[str, int | None], Glimpse] = {}
        for line in sorted(over, key=lambda line: line.listed is not None):
            indices = (line.index,) if line.listed is None else read_ranges(line.listed, _LARGEST_INDEX)
            for index in indices:
                found.setdefault((line.job, index), self._glimpse(line, index, cluster))
        # An id alone is of a plain job, or the first record of an array.
        arrays = {line.job for line in lines if line.index is not None or line.listed is not None}
        return Told(
            glimpses=tuple(glimpse for (job, index), glimpse in found.items() if index is not None or job not in arrays)
        )

    def build_cancel(self, targets: Sequence[Target]) -> tuple[Command, ...]:
        """Return the commands; a single element is held first, or it would leave no record."""
        elements = [target for target in targets if target.index is not None]
        return (
            *(
                Command(argv=("scontrol", *name_cluster(cluster), "hold", ",".join(_list_ids(part))))
                for cluster, part in _cut(elements)
            ),
            *(Command(argv=("scancel", *name_cluster(cluster), *_list_ids(part))) for cluster, part in _cut(targets)),
        )

    def parse_cancel(self, result: CommandResult) -> None:
        """Check the answer.

        :raises PollError: if the controller did not take the command.
        """
        check_done(f"The jobs {' '.join(result.argv[1:])}"[:300], result, "cancelled")

    def _glimpse(self, line: SlurmLine, index: int | None, cluster: str | None) -> Glimpse:
        job = join_id(line.job, cluster)
        return Glimpse(
            id=self.name_element(job, index),
            job=job,
            index=index,
            native=line.native,
            number=join_id(line.number, cluster),
        )


def _list_ids(targets: Sequence[Target]) -> list[str]:
    return [split_id(target.text)[0] for target in targets]


def _build_look(targets: Sequence[Target], cluster: str | None, words: Sequence[str]) -> Look:
    program, *rest = words
    argv = (program, *name_cluster(cluster), *rest, ",".join(_list_ids(targets)))
    return Look(command=Command(argv=argv, environment=ENVIRONMENT), targets=tuple(targets))


def _cut(targets: Sequence[Target]) -> Iterator[tuple[str | None, Sequence[Target]]]:
    """Return the targets of each cluster, in parts that fit into one argument."""
    by_cluster: dict[str | None, list[Target]] = {}
    for target in targets:
        by_cluster.setdefault(split_id(target.job)[1], []).append(target)
    for cluster, own in by_cluster.items():
        for start in range(0, len(own), _MOST_IDS):
            yield cluster, own[start : start + _MOST_IDS]
