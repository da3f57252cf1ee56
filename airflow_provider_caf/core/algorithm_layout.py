"""The folder of one algorithm in one pass, and the paths in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_provider_caf.core.names import check_count, check_file_name
from airflow_provider_caf.core.record import record


class PathIn:
    """A path of a layout, as an attribute.

    :param folder: the attribute with the folder in which it is.
    :param pattern: the path in that folder; `{0.name}` stands for the name of the layout.
    """

    def __init__(self, folder: str, pattern: str) -> None:
        self._folder = folder
        self._pattern = pattern

    def __get__(self, layout: Any, owner: type) -> Path:
        folder: Path = getattr(layout, self._folder)
        return folder / self._pattern.format(layout)


@record
class AlgorithmLayout:
    """The paths of one algorithm in one iteration.

    :param folder: staged payloads, extra files, log and result.
    """

    folder: Path
    name: str

    app = PathIn("folder", "app.pyz")
    """The zip app with the algorithm's code, packed when the algorithm begins."""
    log = PathIn("folder", "{0.name}.log")
    """What the algorithm process printed."""
    result = PathIn("folder", "result.json")
    """How the strategy ended, with all executions."""
    database = PathIn("folder", "outputdb")
    """The local database with the payloads of this algorithm alone."""
    staging_folder = PathIn("folder", "staging")
    """The folder of payloads that are made and not yet committed."""
    checkpoint_folder = PathIn("folder", "checkpoint")
    """The folder with the records of finished executions: of a job all, else those too large for the task's state."""
    jobs_folder = PathIn("folder", "job")
    """The folder of the job that carries out the strategy, where one does."""
    job_request = PathIn("folder", "job_request.json")
    """What that job has to do."""
    job_live = PathIn("folder", "job_live.json")
    """How far it is, while it runs."""
    job_end = PathIn("folder", "job_end.json")
    """How it ended."""
    job_lock = PathIn("folder", "job.lock")
    """Held by a job as long as anything of it lives: two never work side by side."""
    gaps = PathIn("folder", "iov_gaps.json")
    """What the payloads of this algorithm leave open."""
    files_folder = PathIn("folder", "files")
    """The folder of the extra files of the strategy."""
    committed_folder = PathIn("folder", "committed")
    """Where processes of an algorithm of a script let the experiment's software commit."""

    def extra_file(self, name: str) -> Path:
        """Return an extra file of the strategy.

        :raises DefinitionError: if the name cannot be a file name.
        """
        return self.files_folder / check_file_name(name)

    def worker_log(self, number: int) -> Path:
        """Return the log of one of the algorithm's processes: of the first one `log`."""
        return self.log if number == 0 else self.folder / f"{self.name}.{check_count('process', number)}.log"

    def copies_folder(self, number: int) -> Path:
        """Return the folder for the copies of the collected data that a `pre_algorithm` in this process may change."""
        return self.folder / f"copies_{check_count('process', number)}"
