"""What a waiter does at each look at a collection, in a worker or in the triggerer."""

from __future__ import annotations

import logging
import time

from airflow_provider_caf.batch.held import build_held_policy
from airflow_provider_caf.core.errors import CafError, DatabaseError
from airflow_provider_caf.jobs.held import describe_holds, treat_held
from airflow_provider_caf.jobs.submission import Observation
from airflow_provider_caf.steps.collect import CollectionRun, describe_observation
from airflow_provider_caf.steps.results import CalibrationResults

log = logging.getLogger(__name__)

_COUNT_SECONDS = 3.0
"""Between two writes of the counts while they change."""


class LiveCounts:
    """Keep the catalog's counts of a collection as they are, while somebody waits for its subjobs."""

    def __init__(self, run: CollectionRun, results: CalibrationResults) -> None:
        self._run = run
        self._results = results
        self._told: object = None
        self._last = -_COUNT_SECONDS

    def update(self, observation: Observation, *, is_last: bool = False) -> None:
        """Write the counts and the new failures, where something has changed.

        :param is_last: write in any case.
        :raises DatabaseError: only if it is the last: until then the next look tries again.
        """
        now = time.monotonic()
        counts = {number: verdict.status for number, verdict in observation.verdicts.items()}
        if not is_last and (counts == self._told or now - self._last < _COUNT_SECONDS):
            return
        self._last = now
        run = self._run
        attempts = run.read_attempts()
        place = (run.iteration, run.layout.name)
        try:
            self._results.add_subjobs(*place, observation, attempts, run.manifest.resources)
        except DatabaseError as error:
            if is_last:
                raise
            log.warning("The counts of the subjobs could not be written: %s", error)
        else:
            self._told = counts


def attend(run: CollectionRun, observation: Observation) -> str:
    """Deal with held jobs, and give the line of progress: `412 done, 3 held, 85 running`, and why they are held.

    A command that the batch system does not take is told in the line and fails nothing: the next look tries again.
    """
    try:
        done = treat_held(run.client, observation, build_held_policy(run.manifest.resources)).describe()
    except CafError as error:
        done = f"the held jobs could not be dealt with: {error.what}"
    parts = (describe_observation(observation), describe_holds(observation.verdicts), done)
    return "; ".join(part for part in parts if part)
