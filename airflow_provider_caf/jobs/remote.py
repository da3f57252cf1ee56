"""A batch system on a host that sees our files under other paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from airflow_provider_caf.batch.evidence import JobState
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, SubmittedArray
from airflow_provider_caf.batch.systems.base import Answer, Done, Query, Submission, System


def rebase_array(array: ArraySpec, find_remote: Callable[[str], str]) -> ArraySpec:
    """Return an array as the host sees it.

    :param find_remote: path here → path there.
    """
    return replace(
        array,
        folder=find_remote(array.folder),
        input_folder=find_remote(array.input_folder),
        output_folder=find_remote(array.output_folder),
        status_folder=find_remote(array.status_folder),
        app=find_remote(array.app),
    )


class RemoteSystem:
    """Speak to a system in the host's paths, and answer in the names of arrays, which are the same on both sides.

    :param find_remote: path here → path there.
    """

    def __init__(self, system: System, find_remote: Callable[[str], str]) -> None:
        self._system = system
        self._find_remote = find_remote
        self.name: str = system.name
        self.largest_array: int | None = system.largest_array
        self.ignored: frozenset[str] = system.ignored
        self.longest_name: int = system.longest_name
        self.states: Mapping[str, JobState] = system.states
        self.grace: float = system.grace

    def build_submit(self, array: ArraySpec) -> Submission:
        """See `System.build_submit`; the files of the submission are on the host."""
        return self._system.build_submit(self._rebase(array))

    def parse_submit(self, array: ArraySpec, result: CommandResult) -> tuple[str, ...]:
        """See `System.parse_submit`."""
        return self._system.parse_submit(self._rebase(array), result)

    def build_lookup(self, array: ArraySpec) -> Command:
        """See `System.build_lookup`."""
        return self._system.build_lookup(self._rebase(array))

    def parse_lookup(self, array: ArraySpec, result: CommandResult) -> tuple[tuple[str, ...], ...]:
        """See `System.parse_lookup`."""
        return self._system.parse_lookup(self._rebase(array), result)

    def build_query(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """See `System.build_query`."""
        return self._system.build_query([self._rebase_submitted(array) for array in arrays])

    def parse_query(self, query: Query, result: CommandResult) -> Answer:
        """See `System.parse_query`; the query has the host's paths already."""
        return self._system.parse_query(query, result)

    def build_history(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """See `System.build_history`."""
        return self._system.build_history([self._rebase_submitted(array) for array in arrays])

    def parse_history(self, query: Query, result: CommandResult) -> Answer:
        """See `System.parse_history`; the query has the host's paths already."""
        return self._system.parse_history(query, result)

    def build_cancel(self, array: SubmittedArray, elements: Sequence[int] | None) -> tuple[Command, ...]:
        """See `System.build_cancel`."""
        return self._system.build_cancel(self._rebase_submitted(array), elements)

    def build_release(self, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
        """See `System.build_release`."""
        return self._system.build_release(self._rebase_submitted(array), elements)

    def parse_action(self, array: SubmittedArray, result: CommandResult, done: Done) -> None:
        """See `System.parse_action`."""
        self._system.parse_action(self._rebase_submitted(array), result, done)

    def _rebase(self, array: ArraySpec) -> ArraySpec:
        return rebase_array(array, self._find_remote)

    def _rebase_submitted(self, submitted: SubmittedArray) -> SubmittedArray:
        return replace(submitted, array=self._rebase(submitted.array))
