"""All paths of a run. Nothing else in the project joins them.

::

    <work_dir>/<dag_id>/<slug of run_id>/
        definition.json  iov_gaps.json  sign_off.json  outputdb/  publish/  report/
    <work_dir>/<dag_id>/<slug of run_id>/<calibration>/
        app.pyz  definition.json  iov_gaps.json  manifest/<collection>.json  outputdb/
        <iteration>/
            collector_input/<collection>/<subjob>.json
            collector_output/<collection>/<subjob>/attempt_<k>/
            collector_output/<collection>/status/<subjob>.<attempt>.json
            collector_output/<collection>/arrays/<k>/
            merged/<collection>.root  merged/<collection>.index.json  merged/<collection>.merge/
            algorithm_output/<algorithm>/{<algorithm>.log,result.json,iov_gaps.json,
                                          staging/,checkpoint/,files/,job/,outputdb/}
            outputdb/

The records hold names only: making one touches no file, so that it is cheap while a DAG is parsed.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path

from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout, PathIn
from airflow_provider_caf.core.errors import DefinitionError, explain_os_error
from airflow_provider_caf.core.job_folders import JobFolders
from airflow_provider_caf.core.names import check_count, check_name
from airflow_provider_caf.core.record import record

DEFINITION_FILE = "definition.json"

_LONGEST_SLUG = 80
_LONGEST_ID = 200
_HASH_DIGITS = 12
_SAFE_ID = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?!\.))*(?<!\.)", re.ASCII)
_PLAIN_SLUG = re.compile(r"[a-z0-9_](?:[a-z0-9_-]|\.(?!\.))*(?<!\.)", re.ASCII)
_HASHED = re.compile(rf"-[0-9a-f]{{{_HASH_DIGITS}}}$")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?$", re.IGNORECASE)


def slug(text: str) -> str:
    """Turn any text, such as a run id, into one readable and unique folder name.

    Small letters, digits, `_`, `-` and single dots stay. When anything else had to be replaced, when the text
    is long, has capitals (some file systems do not tell them from small letters) or already ends like a hash,
    a hash of the whole text is put behind it, so that two texts never share a folder.

    :param text: any text; an empty one gives a name too.
    """
    plain = _PLAIN_SLUG.fullmatch(text) is not None and _RESERVED.match(text) is None
    if plain and len(text) <= _LONGEST_SLUG and _HASHED.search(text) is None:
        return text
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)
    readable = re.sub(r"[.-]{2,}", "-", readable).strip(".-")[:_LONGEST_SLUG].rstrip(".-") or "run"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable}-{digest[:_HASH_DIGITS]}"


def _name_folder(key: str) -> str:
    """Return the id of a DAG or a task where it can be a folder name, else a name made of it."""
    keep = len(key) <= _LONGEST_ID and _SAFE_ID.fullmatch(key) and not _HASHED.search(key)
    return key if keep else slug(key)


def check_work_dir(work_dir: Path) -> None:
    """Refuse a path that cannot be the folder of all runs. No file is touched.

    :raises DefinitionError: with what is wrong with it.
    """
    text = str(work_dir)
    hint = "Set [caf] work_dir to an absolute path that every machine of the batch system sees."
    # Surrogates, of a name that is no UTF-8, are among the letters that are not to be seen: jobs get paths in JSON.
    is_hidden = any(unicodedata.category(letter).startswith("C") for letter in text)
    for is_wrong, fault in (
        (is_hidden, "has a letter in its name that is not to be seen"),
        (text.startswith("~"), "begins with '~', which is another folder for each user"),
        (not work_dir.is_absolute(), "is not an absolute path"),
        (".." in work_dir.parts, "has '..' in it"),
        # The catalog and the cache of file metadata lie beside it.
        (len(work_dir.parts) < 2, "has no name and no place beside it"),
    ):
        if is_wrong:
            raise DefinitionError(f"The work folder {text!r} {fault}.", hint=hint)


def make_work_dir(work_dir: Path) -> None:
    """Make the folder of all runs where it is not there, and find out whether it can be used.

    :raises DefinitionError: if it is something else than a folder, or cannot be made or written.
    """
    check_work_dir(work_dir)
    hint = "Make it, or let the user of the worker write there, or set another one in [caf] work_dir."
    with explain_os_error(DefinitionError, f"The work folder {str(work_dir)!r} could not be made", hint):
        try:
            work_dir.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise DefinitionError(f"The work folder {str(work_dir)!r} is no folder.", hint=hint) from error
    if not os.access(work_dir, os.R_OK | os.W_OK | os.X_OK):
        raise DefinitionError(f"The work folder {str(work_dir)!r} may not be written.", hint=hint)


def metadata_cache_file(work_dir: Path) -> Path:
    """Return the SQLite file beside the work folder with what is known of input files."""
    return work_dir.with_name(f"{work_dir.name}_file_metadata.sqlite")


def default_catalog_file(work_dir: Path) -> Path:
    """Return the results catalog's SQLite file beside the work folder, where no connection is set."""
    return work_dir.with_name(f"{work_dir.name}_catalog.sqlite")


@record
class CollectionLayout:
    """The paths of one collection in one iteration.

    :param iteration_folder: the folder of the iteration.
    :param calibration_folder: the folder of the calibration.
    :param name: the collection's name.
    """

    iteration_folder: Path
    calibration_folder: Path
    name: str

    manifest = PathIn("calibration_folder", "manifest/{0.name}.json")
    """What was resolved once for all iterations: input files, splitting, database chain."""
    merged_file = PathIn("iteration_folder", "merged/{0.name}.root")
    """The file with the collected objects of all subjobs."""
    merged_index = PathIn("iteration_folder", "merged/{0.name}.index.json")
    """Where in the merged file each object of each run is."""
    merge_progress = PathIn("iteration_folder", "merged/{0.name}.merge.progress")
    """The file in which a merge says how far it is."""
    merge_folder = PathIn("iteration_folder", "merged/{0.name}.merge")
    """The folder of the job that merges."""
    merge_request = PathIn("iteration_folder", "merged/{0.name}.merge.json")
    """The file that tells the merge what to do."""
    outputs_file = PathIn("iteration_folder", "merged/{0.name}.outputs.json")
    """Which files the done subjobs have left, by their output patterns."""
    merge_log = PathIn("iteration_folder", "merged/{0.name}.merge.log")
    """What the merge printed."""
    failed_file = PathIn("iteration_folder", "merged/{0.name}.failed.json")
    """Which subjobs failed and are not in the merged file; it is there only if some did."""

    @property
    def jobs(self) -> JobFolders:
        """The folders of its subjobs."""
        return JobFolders(
            input_folder=self.iteration_folder / "collector_input" / self.name,
            output_folder=self.iteration_folder / "collector_output" / self.name,
        )


@record
class IterationLayout:
    """The paths of one pass of a calibration."""

    calibration_folder: Path
    number: int

    folder = PathIn("calibration_folder", "{0.number}")
    """The folder of everything this pass makes."""
    database = PathIn("folder", "outputdb")
    """The local database of this pass."""
    decision = PathIn("folder", "decision.json")
    """The record of whether to iterate again, and why."""

    def collection(self, name: str) -> CollectionLayout:
        """Return the paths of a collection.

        :raises DefinitionError: if the name cannot stand in a path.
        """
        return CollectionLayout(
            iteration_folder=self.folder,
            calibration_folder=self.calibration_folder,
            name=check_name("collection", name),
        )

    def algorithm(self, name: str) -> AlgorithmLayout:
        """Return the paths of an algorithm.

        :raises DefinitionError: if the name cannot stand in a path.
        """
        part = check_name("algorithm", name)
        return AlgorithmLayout(folder=self.folder / "algorithm_output" / part, name=part)


@record
class CalibrationLayout:
    """The paths of one calibration of a run.

    :param run_folder: the folder of the DAG run.
    """

    run_folder: Path
    name: str

    folder = PathIn("run_folder", "{0.name}")
    """The folder of everything of this calibration."""
    app = PathIn("folder", "app.pyz")
    """The zip app that travels with the jobs."""
    description_app = PathIn("folder", "describe.pyz")
    """The zip app with all code of the calibration, which tells who its classes are."""
    run_database = PathIn("run_folder", "outputdb")
    """The local database of the whole run: of all calibrations that save their payloads."""
    definition = PathIn("folder", "definition.json")
    """What was resolved once for the whole calibration."""
    gaps = PathIn("folder", "iov_gaps.json")
    """What the calibration's final payloads leave open."""
    manifest_folder = PathIn("folder", "manifest")
    """The folder with one manifest per collection."""
    database = PathIn("folder", "outputdb")
    """The local database with the calibration's final payloads."""
    command_folder = PathIn("folder", "command")
    """The folder of the job that runs the command of a step."""
    command_request = PathIn("folder", "command.json")
    """What that job has to do."""
    command_log = PathIn("folder", "command.log")
    """What an external command printed."""
    seen_databases = PathIn("folder", "database_chain.json")
    """The database chain that an external command sees."""
    made_database = PathIn("folder", "made")
    """The local database that an external command, or a type of calibration of the user's, may make."""

    def sibling(self, name: str) -> CalibrationLayout:
        """Return the paths of another calibration of the same run."""
        return CalibrationLayout(run_folder=self.run_folder, name=check_name("calibration", name))

    def manifest(self, collection: str) -> Path:
        """Return the manifest of a collection."""
        return self.manifest_folder / f"{check_name('collection', collection)}.json"

    def selection(self, collection: str) -> Path:
        """Return the record of which input files of a collection were chosen."""
        return self.folder / "selection" / f"{check_name('collection', collection)}.json"

    def iteration(self, number: int) -> IterationLayout:
        """Return the paths of a pass, counted from 0."""
        return IterationLayout(calibration_folder=self.folder, number=check_count("iteration", number))


@record
class TaskJobsLayout:
    """The paths of the jobs of one task of any DAG.

    :param folder: everything of these jobs.
    """

    folder: Path

    manifest = PathIn("folder", "jobs.json")
    """What was submitted: system, resources, how many jobs."""
    outputs_file = PathIn("folder", "outputs.json")
    """Which files the jobs that are done have left, by their output patterns."""

    def app(self, digest: str) -> Path:
        """Return the zip app that travels with the jobs. Another content is another file: a job may still read it."""
        return self.folder / f"app_{digest[:12]}.pyz"

    @property
    def jobs(self) -> JobFolders:
        """The folders of the jobs."""
        return JobFolders(input_folder=self.folder / "input", output_folder=self.folder / "output")


@record
class RunLayout:
    """The paths of one DAG run.

    :param work_dir: the folder that all machines of the batch system see; absolute.
    :param dag_id: the DAG's id; used as it is where it can be a folder name.
    :param run_id: the run's id, any text.
    """

    work_dir: Path
    dag_id: str
    run_id: str

    def __post_init__(self) -> None:
        check_work_dir(self.work_dir)

    @property
    def folder(self) -> Path:
        """The folder of everything of this run."""
        return self.work_dir / _name_folder(self.dag_id) / slug(self.run_id)

    definition = PathIn("folder", "definition.json")
    """The definition of this run, with its params applied."""
    database = PathIn("folder", "outputdb")
    """The joined local database: of all calibrations that save their payloads."""
    gaps = PathIn("folder", "iov_gaps.json")
    """What the joined local database leaves open."""
    sign_off = PathIn("folder", "sign_off.json")
    """Who approved the result, and the comment."""
    report_folder = PathIn("folder", "report")
    """The folder with the report of the run and its drawings."""
    publish_folder = PathIn("folder", "publish")
    """The folder with the records of a publication: begun, done, log."""

    def calibration(self, name: str) -> CalibrationLayout:
        """Return the paths of a calibration.

        :raises DefinitionError: if the name cannot stand in a path.
        """
        return CalibrationLayout(run_folder=self.folder, name=check_name("calibration", name))

    def task_jobs(self, task_id: str, map_index: int = -1) -> TaskJobsLayout:
        """Return the paths of the jobs of a task; no calibration can have a name with a dot.

        :param map_index: of a mapped task; -1: it is none.
        """
        folder = self.folder / "task.jobs" / _name_folder(task_id)
        return TaskJobsLayout(folder=folder if map_index < 0 else folder / str(map_index))
