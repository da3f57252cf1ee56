"""The folders of subjobs that run together, and the paths in them.

::

    <input_folder>/<subjob>.json                        the job file
    <output_folder>/<subjob>/attempt_<k>/               where an attempt works
    <output_folder>/status/<subjob>.<attempt>.json      its exit record
    <output_folder>/arrays/<k>/                         a submission
"""

from __future__ import annotations

from pathlib import Path

from airflow_provider_caf.core.file_names import name_attempt, name_exit_record, name_job_file, name_subjob
from airflow_provider_caf.core.names import check_count
from airflow_provider_caf.core.record import record


@record
class JobFolders:
    """The folders of subjobs that run together. Making the record touches no file.

    :param input_folder: the folder of the job files.
    :param output_folder: the folder of the subjobs' work folders, the exit records and the arrays.
    """

    input_folder: Path
    output_folder: Path

    @property
    def status_folder(self) -> Path:
        """The folder of the exit records of all subjobs and attempts."""
        return self.output_folder / "status"

    @property
    def arrays_folder(self) -> Path:
        """The folder of all submissions."""
        return self.output_folder / "arrays"

    def job_file(self, subjob: int) -> Path:
        """Return the job file of a subjob."""
        return self.input_folder / name_job_file(check_count("subjob", subjob))

    def subjob_folder(self, subjob: int) -> Path:
        """Return the folder of all attempts of a subjob."""
        return self.output_folder / name_subjob(check_count("subjob", subjob))

    def attempt_folder(self, subjob: int, attempt: int) -> Path:
        """Return the folder in which an attempt of a subjob works. The job adds `_r1` when it was requeued."""
        return self.subjob_folder(subjob) / name_attempt(check_count("attempt", attempt))

    def exit_record(self, subjob: int, attempt: int) -> Path:
        """Return the exit record of an attempt of a subjob."""
        return self.status_folder / name_exit_record(check_count("subjob", subjob), check_count("attempt", attempt))

    def array_folder(self, attempt: int, part: int = 0) -> Path:
        """Return the folder of a submission: intent record, scripts, files of the local pool.

        :param part: the number of the piece, where one attempt is cut into several arrays.
        """
        name = str(check_count("array", attempt))
        return self.arrays_folder / (f"{name}.{part}" if part else name)

    def make(self) -> None:
        """Make the folders.

        :raises OSError: if they cannot be made.
        """
        for folder in (self.input_folder, self.status_folder, self.arrays_folder):
            folder.mkdir(parents=True, exist_ok=True)
