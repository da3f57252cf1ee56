"""The trigger behind the batch sensors: it looks after the subjobs of a collection in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_caf.batch.polling import Patience, decide_interval
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.steps.collect import CollectionRun, describe_observation, is_over

_HOLD_BACK = 8.0
"""Seconds before the first event. In Airflow up to 3.3.2 an event that fires within seconds of the deferral can fail
the task (apache/airflow issues 71580 and 72716)."""


class BatchJobTrigger(BaseTrigger):
    """Wait until nothing will happen any more by itself to the subjobs of a collection.

    The event says only that it is time to look; the sensor looks itself.

    :param calibration_folder: the calibration's folder in the run.
    :param iteration: the number of the pass, from 0.
    :param collection: the collection's name.
    :param first_attempt: handed back with the event.
    :param longest_interval: between two looks, in seconds.
    :param deadline: when the sensor gives up, in seconds since 1970; handed back with the event.
    """

    def __init__(
        self,
        calibration_folder: str,
        iteration: int,
        collection: str,
        deadline: float,
        first_attempt: int = 0,
        longest_interval: float = 60.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calibration_folder = calibration_folder
        self.iteration = iteration
        self.collection = collection
        self.first_attempt = first_attempt
        self.longest_interval = longest_interval
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give what the triggerer needs to make it again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "calibration_folder": self.calibration_folder,
                "iteration": self.iteration,
                "collection": self.collection,
                "first_attempt": self.first_attempt,
                "longest_interval": self.longest_interval,
                "deadline": self.deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until it is over, the time is up, or the batch system has not answered for too long."""
        began = time.monotonic()
        patience = Patience(longest=self.longest_interval)
        told = ""
        try:
            run = await asyncio.to_thread(self._open)
            while not is_over(seen := await asyncio.to_thread(run.observe, check_outputs=False, read_logs=False)):
                if describe_observation(seen) != told:
                    told = describe_observation(seen)
                    self.log.info("%s", told)
                if time.time() > self.deadline:
                    break  # the sensor sees it too, and gives up
                await asyncio.sleep(decide_interval(time.monotonic() - began, patience))
        except CafError as error:
            # An exception that left a trigger would go round the sensor's retries.
            event: dict[str, Any] = {"error": str(error)}
        else:
            event = {"first_attempt": self.first_attempt, "deadline": self.deadline}
        await asyncio.sleep(max(0.0, began + _HOLD_BACK - time.monotonic()))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """End the jobs: somebody killed the task. A triggerer's shutdown does not come here."""
        run = await asyncio.to_thread(self._open)
        await asyncio.to_thread(run.cancel)

    def _open(self) -> CollectionRun:
        folder = Path(self.calibration_folder)
        layout = CalibrationLayout(run_folder=folder.parent, name=folder.name)
        return CollectionRun(layout, self.iteration, self.collection)
