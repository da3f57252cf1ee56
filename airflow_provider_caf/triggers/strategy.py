"""The trigger behind an algorithm that runs as a job: it shows the executions as they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.jobs.run import SubjobRun
from airflow_provider_caf.steps.strategy_job import LiveStrategy
from airflow_provider_caf.steps.task_jobs import TaskJobs
from airflow_provider_caf.triggers.batch import TaskJobsTrigger, open_calibration, open_results


class StrategyJobTrigger(TaskJobsTrigger):
    """Wait for the job of an algorithm.

    :param folder: the folder of the job.
    :param calibration_folder: the calibration's folder in the run.
    :param iteration: the number of the pass, from 0.
    :param algorithm: the algorithm's name.
    """

    def __init__(self, folder: str, calibration_folder: str, iteration: int, algorithm: str, **wait: Any) -> None:
        super().__init__(folder, **wait)
        self.calibration_folder = calibration_folder
        self.iteration = iteration
        self.algorithm = algorithm

    def open_counts(self, run: SubjobRun) -> LiveStrategy:
        """Return what keeps the catalog up to date."""
        assert isinstance(run, TaskJobs)
        folder = Path(self.calibration_folder)
        layout = CalibrationLayout(run_folder=folder.parent, name=folder.name)
        return open_live(run, layout, self.iteration, self.algorithm)


def open_live(run: TaskJobs, layout: CalibrationLayout, iteration: int, algorithm: str) -> LiveStrategy:
    """Return what keeps the catalog up to date on the job of an algorithm."""
    task = run.manifest
    calibration = open_calibration(task.dag_id, task.run_id, layout.name)
    return LiveStrategy(
        run, open_results(task), calibration, iteration, layout.iteration(iteration).algorithm(algorithm)
    )
