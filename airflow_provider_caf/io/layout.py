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
            merged/<collection>.root  merged/<collection>.index.json
            algorithm_output/<algorithm>/{<algorithm>.log,result.json,iov_gaps.json,
                                          staging/,checkpoint/,files/,outputdb/}
            outputdb/

The records hold names only: making one touches no file, so that it is cheap while a DAG is parsed.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.job_folders import JobFolders
from airflow_provider_caf.core.names import check_count, check_file_name, check_name
from airflow_provider_caf.core.record import record

DATABASE_FOLDER = "outputdb"
DATABASE_FILE = "database.txt"
APP_FILE = "app.pyz"
RESULT_FILE = "result.json"
GAPS_FILE = "iov_gaps.json"
DEFINITION_FILE = "definition.json"
JSON_SUFFIX = ".json"
ROOT_SUFFIX = ".root"

_LONGEST_SLUG = 80
_LONGEST_DAG_ID = 200
_HASH_DIGITS = 12
_SAFE_DAG_ID = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?!\.))*(?<!\.)", re.ASCII)
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


def check_work_dir(work_dir: Path) -> None:
    """Refuse a path that cannot be the folder of all runs. No file is touched.

    :raises DefinitionError: with what is wrong with it.
    """
    text = str(work_dir)
    hint = "Set [caf] work_dir to an absolute path that every machine of the batch system sees."
    if any(unicodedata.category(letter).startswith("C") for letter in text):
        # Surrogates, of a name that is no UTF-8, are among these: jobs get paths in JSON.
        raise DefinitionError(f"The work folder {text!r} has a letter in its name that is not to be seen.", hint=hint)
    if text.startswith("~"):
        raise DefinitionError(
            f"The work folder {text!r} begins with '~', which is another folder for each user.", hint=hint
        )
    if not work_dir.is_absolute():
        raise DefinitionError(f"The work folder {text!r} is not an absolute path.", hint=hint)
    if ".." in work_dir.parts:
        raise DefinitionError(f"The work folder {text!r} has '..' in it.", hint=hint)
    if len(work_dir.parts) < 2:
        # The catalog and the cache of file metadata lie beside it.
        raise DefinitionError(f"The work folder is {text!r}, which has no name and no place beside it.", hint=hint)


def make_work_dir(work_dir: Path) -> None:
    """Make the folder of all runs where it is not there, and find out whether it can be used.

    :raises DefinitionError: if it is something else than a folder, or cannot be made or written.
    """
    check_work_dir(work_dir)
    hint = "Make it, or let the user of the worker write there, or set another one in [caf] work_dir."
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise DefinitionError(f"The work folder {str(work_dir)!r} is no folder.", hint=hint) from error
    except OSError as error:
        raise DefinitionError(
            f"The work folder {str(work_dir)!r} could not be made: {error.strerror}.", hint=hint
        ) from error
    if not os.access(work_dir, os.R_OK | os.W_OK | os.X_OK):
        raise DefinitionError(f"The work folder {str(work_dir)!r} may not be written.", hint=hint)


def metadata_cache_file(work_dir: Path) -> Path:
    """Give the SQLite file beside the work folder with what is known of input files."""
    return work_dir.with_name(f"{work_dir.name}_file_metadata.sqlite")


def default_catalog_file(work_dir: Path) -> Path:
    """Give the results catalog's SQLite file beside the work folder, where no connection is set."""
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

    @property
    def manifest(self) -> Path:
        """What was resolved once for all iterations: input files, splitting, database chain."""
        return self.calibration_folder / "manifest" / f"{self.name}{JSON_SUFFIX}"

    @property
    def jobs(self) -> JobFolders:
        """The folders of its subjobs."""
        return JobFolders(
            input_folder=self.iteration_folder / "collector_input" / self.name,
            output_folder=self.iteration_folder / "collector_output" / self.name,
        )

    @property
    def merged_file(self) -> Path:
        """The file with the collected objects of all subjobs."""
        return self.iteration_folder / "merged" / f"{self.name}{ROOT_SUFFIX}"

    @property
    def merged_index(self) -> Path:
        """Where in the merged file each object of each run is."""
        return self.iteration_folder / "merged" / f"{self.name}.index{JSON_SUFFIX}"

    @property
    def merge_progress(self) -> Path:
        """The file in which a merge says how far it is."""
        return self.iteration_folder / "merged" / f"{self.name}.merge.progress"

    @property
    def merge_request(self) -> Path:
        """The file that tells the merge what to do."""
        return self.iteration_folder / "merged" / f"{self.name}.merge{JSON_SUFFIX}"

    @property
    def outputs_file(self) -> Path:
        """Which files the done subjobs have left, by their output patterns."""
        return self.iteration_folder / "merged" / f"{self.name}.outputs{JSON_SUFFIX}"

    @property
    def merge_log(self) -> Path:
        """What the merge printed."""
        return self.iteration_folder / "merged" / f"{self.name}.merge.log"

    @property
    def failed_file(self) -> Path:
        """Which subjobs failed and are not in the merged file; it is there only if some did."""
        return self.iteration_folder / "merged" / f"{self.name}.failed{JSON_SUFFIX}"


@record
class AlgorithmLayout:
    """The paths of one algorithm in one iteration.

    :param folder: staged payloads, extra files, log and result.
    """

    folder: Path
    name: str

    @property
    def app(self) -> Path:
        """The zip app with the algorithm's code, packed when the algorithm begins."""
        return self.folder / APP_FILE

    @property
    def log(self) -> Path:
        """What the algorithm process printed."""
        return self.folder / f"{self.name}.log"

    @property
    def result(self) -> Path:
        """How the strategy ended, with all executions."""
        return self.folder / RESULT_FILE

    @property
    def database(self) -> Path:
        """The local database with the payloads of this algorithm alone."""
        return self.folder / DATABASE_FOLDER

    @property
    def staging_folder(self) -> Path:
        """The folder of payloads that are made and not yet committed."""
        return self.folder / "staging"

    @property
    def checkpoint_folder(self) -> Path:
        """The folder with the records of finished executions that are too large for the task's state store."""
        return self.folder / "checkpoint"

    @property
    def gaps(self) -> Path:
        """What the payloads of this algorithm leave open."""
        return self.folder / GAPS_FILE

    @property
    def files_folder(self) -> Path:
        """The folder of the extra files of the strategy."""
        return self.folder / "files"

    @property
    def committed_folder(self) -> Path:
        """Where processes of an algorithm of a script let the experiment's software commit."""
        return self.folder / "committed"

    def extra_file(self, name: str) -> Path:
        """Give an extra file of the strategy.

        :raises DefinitionError: if the name cannot be a file name.
        """
        return self.files_folder / check_file_name(name)

    def worker_log(self, number: int) -> Path:
        """Give the log of one of the algorithm's processes: of the first one `log`."""
        return self.log if number == 0 else self.folder / f"{self.name}.{check_count('process', number)}.log"

    def copies_folder(self, number: int) -> Path:
        """Give the folder for the copies of the collected data that a `pre_algorithm` in this process may change."""
        return self.folder / f"copies_{check_count('process', number)}"


@record
class IterationLayout:
    """The paths of one pass of a calibration."""

    calibration_folder: Path
    number: int

    @property
    def folder(self) -> Path:
        """The folder of everything this pass makes."""
        return self.calibration_folder / str(self.number)

    @property
    def database(self) -> Path:
        """The local database of this pass."""
        return self.folder / DATABASE_FOLDER

    @property
    def decision(self) -> Path:
        """The record of whether to iterate again, and why."""
        return self.folder / f"decision{JSON_SUFFIX}"

    def collection(self, name: str) -> CollectionLayout:
        """Give the paths of a collection.

        :raises DefinitionError: if the name cannot stand in a path.
        """
        return CollectionLayout(
            iteration_folder=self.folder,
            calibration_folder=self.calibration_folder,
            name=check_name("collection", name),
        )

    def algorithm(self, name: str) -> AlgorithmLayout:
        """Give the paths of an algorithm.

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

    @property
    def folder(self) -> Path:
        """The folder of everything of this calibration."""
        return self.run_folder / self.name

    @property
    def app(self) -> Path:
        """The zip app that travels with the jobs."""
        return self.folder / APP_FILE

    @property
    def description_app(self) -> Path:
        """The zip app with all code of the calibration, which tells who its classes are."""
        return self.folder / "describe.pyz"

    @property
    def run_database(self) -> Path:
        """The local database of the whole run: of all calibrations that save their payloads."""
        return self.run_folder / DATABASE_FOLDER

    @property
    def definition(self) -> Path:
        """What was resolved once for the whole calibration."""
        return self.folder / DEFINITION_FILE

    @property
    def gaps(self) -> Path:
        """What the calibration's final payloads leave open."""
        return self.folder / GAPS_FILE

    @property
    def manifest_folder(self) -> Path:
        """The folder with one manifest per collection."""
        return self.folder / "manifest"

    @property
    def database(self) -> Path:
        """The local database with the calibration's final payloads."""
        return self.folder / DATABASE_FOLDER

    @property
    def command_log(self) -> Path:
        """What an external command printed."""
        return self.folder / "command.log"

    @property
    def seen_databases(self) -> Path:
        """The database chain that an external command sees."""
        return self.folder / f"database_chain{JSON_SUFFIX}"

    @property
    def made_database(self) -> Path:
        """The local database that an external command, or a calibration of an own type, may make."""
        return self.folder / "made"

    def sibling(self, name: str) -> CalibrationLayout:
        """Give the paths of another calibration of the same run."""
        return CalibrationLayout(run_folder=self.run_folder, name=check_name("calibration", name))

    def manifest(self, collection: str) -> Path:
        """Give the manifest of a collection."""
        return self.manifest_folder / f"{check_name('collection', collection)}{JSON_SUFFIX}"

    def selection(self, collection: str) -> Path:
        """Give the record of which input files of a collection were chosen."""
        return self.folder / "selection" / f"{check_name('collection', collection)}{JSON_SUFFIX}"

    def iteration(self, number: int) -> IterationLayout:
        """Give the paths of a pass, counted from 0."""
        return IterationLayout(calibration_folder=self.folder, number=check_count("iteration", number))


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
        dag = self.dag_id
        keep = len(dag) <= _LONGEST_DAG_ID and _SAFE_DAG_ID.fullmatch(dag) and not _HASHED.search(dag)
        return self.work_dir / (dag if keep else slug(dag)) / slug(self.run_id)

    @property
    def definition(self) -> Path:
        """The definition of this run, with its params applied."""
        return self.folder / DEFINITION_FILE

    @property
    def database(self) -> Path:
        """The joined local database: of all calibrations that save their payloads."""
        return self.folder / DATABASE_FOLDER

    @property
    def gaps(self) -> Path:
        """What the joined local database leaves open."""
        return self.folder / GAPS_FILE

    @property
    def sign_off(self) -> Path:
        """Who approved the result, and the comment."""
        return self.folder / f"sign_off{JSON_SUFFIX}"

    @property
    def report_folder(self) -> Path:
        """The folder with the report of the run and its drawings."""
        return self.folder / "report"

    @property
    def publish_folder(self) -> Path:
        """The folder with the records of a publication: begun, done, log."""
        return self.folder / "publish"

    def calibration(self, name: str) -> CalibrationLayout:
        """Give the paths of a calibration.

        :raises DefinitionError: if the name cannot stand in a path.
        """
        return CalibrationLayout(run_folder=self.folder, name=check_name("calibration", name))
