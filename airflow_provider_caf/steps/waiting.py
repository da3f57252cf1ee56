"""Keep the catalog up to date while somebody waits for subjobs, in a worker or the triggerer."""

from __future__ import annotations

import logging
import time

from airflow_provider_caf.core.errors import DatabaseError
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.jobs.run import SubjobRun
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.steps.results import CalibrationResults

log = logging.getLogger(__name__)

_COUNT_SECONDS = 3.0
"""Between two writes of the counts while they change."""


class LiveCounts:
    """Keep the catalog's counts of a set of subjobs as they are, while somebody waits for them.

    :param results: of the calibration, or of the task whose jobs they are; None: the catalog does not have them.
    :param iteration: the number of the pass.
    :param collection: the name of the collection.
    """

    def __init__(self, run: SubjobRun, results: CalibrationResults | None, iteration: int, collection: str) -> None:
        self._run = run
        self._results = results
        self._place = (iteration, collection)
        self._written: object = None
        self._last = -_COUNT_SECONDS

    @classmethod
    def of_collection(cls, run: CollectionRun, results: CalibrationResults) -> LiveCounts:
        """Return the counts of a collection in a pass."""
        return cls(run, results, run.iteration, run.layout.name)

    def update(self, observation: Observation, *, is_last: bool = False) -> None:
        """Write the counts and the new failures, where something has changed.

        :param is_last: write in any case.
        :raises DatabaseError: only if it is the last: until then the next look tries again.
        """
        if self._results is None:
            return
        now = time.monotonic()
        counts = {number: verdict.status for number, verdict in observation.verdicts.items()}
        if not is_last and (counts == self._written or now - self._last < _COUNT_SECONDS):
            return
        self._last = now
        run = self._run
        attempts = run.read_attempts()
        try:
            self._results.add_subjobs(*self._place, observation, attempts, run.subjob_set.resources)
        except DatabaseError as error:
            if is_last:
                raise
            log.warning("The counts of the subjobs could not be written: %s", error)
        else:
            self._written = counts
