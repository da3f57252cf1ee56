"""How the input files of a collection are cut into subjobs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record


@record
class Splitting:
    """The rule by which files become subjobs. Without any field set, each file is a subjob.

    :param max_files_per_collector_job: at most so many files in a subjob.
    :param max_collector_jobs: at most so many subjobs, with the files spread evenly.
    :param arguments: one subjob for each of these mappings; each subjob gets all files.
    :param max_subjobs: the limit for `arguments`, required with them.
    :raises DefinitionError: if the fields exclude one another.
    """

    max_files_per_collector_job: int | None = None
    max_collector_jobs: int | None = None
    arguments: tuple[Mapping[str, Any], ...] | None = None
    max_subjobs: int | None = None

    def __post_init__(self) -> None:
        """Check the fields against one another."""
        rules = [
            name
            for name in ("max_files_per_collector_job", "max_collector_jobs", "arguments")
            if getattr(self, name) is not None
        ]
        if len(rules) > 1:
            raise DefinitionError(f"Subjobs are split by {' and by '.join(rules)}.", hint="Give only one of them.")
        if self.arguments is None and self.max_subjobs is not None:
            raise DefinitionError(
                "max_subjobs is given without arguments.",
                hint="For files, use max_collector_jobs to limit the number of subjobs.",
            )
        if self.arguments is not None:
            self._check_arguments(self.arguments)

    def _check_arguments(self, arguments: tuple[Mapping[str, Any], ...]) -> None:
        if self.max_subjobs is None:
            raise DefinitionError(
                "Subjobs are split by arguments without an upper limit.",
                hint="Give max_subjobs: a mistake in generated arguments must not flood a batch system.",
            )
        if not arguments:
            raise DefinitionError("The list of arguments is empty.", hint="Each mapping in it is a subjob.")
        if len(arguments) > self.max_subjobs:
            raise DefinitionError(
                f"The arguments make {len(arguments)} subjobs, but max_subjobs is {self.max_subjobs}.",
                hint="Raise max_subjobs if they are meant.",
            )


@record
class SubjobPlan(JsonRecord):
    """What one subjob works on.

    :param index: its number in the collection, from 0.
    :param files: its input files, in the order of the collection.
    :param arguments: its generated arguments, empty where there are none.
    """

    noun = "subjob"

    index: int
    files: tuple[str, ...]
    arguments: Mapping[str, Any]


def plan_subjobs(files: Sequence[str], splitting: Splitting) -> tuple[SubjobPlan, ...]:
    """Cut files into subjobs. No subjob is without work, and the order of the files is kept.

    :param files: the input files; they may only be missing where subjobs are split by arguments.
    :raises InputError: if there is nothing to work on.
    """
    if splitting.arguments is not None:
        return tuple(
            SubjobPlan(index=index, files=tuple(files), arguments=dict(arguments))
            for index, arguments in enumerate(splitting.arguments)
        )
    if not files:
        raise InputError(
            "There is no input file to make subjobs of.",
            hint="Check the patterns of the input files, the requested IoV and the ignored runs.",
        )
    return tuple(
        SubjobPlan(index=index, files=tuple(part), arguments={}) for index, part in enumerate(_cut(files, splitting))
    )


def _cut(files: Sequence[str], splitting: Splitting) -> list[Sequence[str]]:
    if splitting.max_collector_jobs is None:
        size = splitting.max_files_per_collector_job or 1
        return [files[first : first + size] for first in range(0, len(files), size)]
    jobs = min(splitting.max_collector_jobs, len(files))
    size, larger = divmod(len(files), jobs)
    firsts = [index * size + min(index, larger) for index in range(jobs + 1)]
    return [files[first:stop] for first, stop in zip(firsts, firsts[1:])]


def share_budget(budget: int, files: Mapping[Any, int]) -> dict[Any, int]:
    """Share a number of subjobs by numbers of files: in proportion, at least one per key, in sum the budget at most.

    What is left after rounding down goes to those with the largest remainders, the first of equal ones first.

    :param files: key → number of files, in the order in which ties are broken.
    :raises DefinitionError: if there are more keys than subjobs.
    """
    if len(files) > budget:
        raise DefinitionError(
            f"job_budget is {budget}, but {len(files)} collections share it.", hint="Give each at least one subjob."
        )
    total = sum(files.values())
    if not total:
        return dict.fromkeys(files, 1)
    exact = {key: budget * count / total for key, count in files.items()}
    shares = {key: max(1, math.floor(share)) for key, share in exact.items()}
    while sum(shares.values()) > budget:
        # Those that were raised to one take from the largest.
        shares[max(shares, key=lambda key: (shares[key], -exact[key]))] -= 1
    by_remainder = sorted(exact, key=lambda key: math.floor(exact[key]) - exact[key])
    for key in by_remainder[: budget - sum(shares.values())]:
        shares[key] += 1
    return {key: min(share, max(1, files[key])) for key, share in shares.items()}
