"""All definitions of a folder, as DAGs: a broken file does not touch the others."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, get_parsing_context

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.files import list_definition_files, load_definitions
from airflow_provider_caf.definitions.yaml_reader import MAX_BYTES
from airflow_provider_caf.factory.dag import build_dag
from airflow_provider_caf.io.layout import slug
from airflow_provider_caf.scripts.script_run import is_script_run, read_script_run
from airflow_provider_caf.site.places import find_configured_folder

_PROCESS_CONTEXT = "_AIRFLOW_PROCESS_CONTEXT"
"""Airflow sets it to `client` where users' code runs for it: in the DAG processor, in workers and in the triggerer."""

_log = logging.getLogger(__name__)


class BrokenDefinition(DAG):
    """Stands for a definition that cannot be read, so that Airflow shows its error and loads all others.

    Airflow knows import errors of files, and one file loads many definitions. Its DAG processor makes an import error
    of each DAG that cannot be serialised, under the DAG's file. Here that is the file of the definition: under the file
    that loads the folder, all of its DAGs would be marked as broken.
    """

    @classmethod
    def of(cls, path: Path, error: Exception) -> BrokenDefinition:
        """Return the one for a file.

        :param error: what is shown.
        """
        dag = cls(dag_id=f"broken_definition.{slug(str(path))}", schedule=None)
        # Not by attributes: Airflow sets them all when it has run the file.
        dag.__dict__["_broken"] = (str(path), error)
        return dag

    def __getattribute__(self, name: str) -> Any:
        broken = super().__getattribute__("__dict__").get("_broken")
        if broken is not None:
            if name in ("fileloc", "relative_fileloc"):
                return broken[0]
            if name == "get_serialized_fields":
                raise broken[1]
        return super().__getattribute__(name)


def find_definitions_folder(loader: Path) -> Path:
    """Return the folder of definitions: `[caf] definitions_folder`, or the folder `definitions` beside a DAG file.

    :param loader: the DAG file.
    """
    return find_configured_folder() or loader.resolve().parent / "definitions"


def build_dags(folder: str | Path) -> dict[str, DAG]:
    """Build the DAGs of all definitions of a folder and those below it.

    A file with a mistake gives a DAG that Airflow's DAG processor cannot serialise: it shows as an import error of that
    file. Elsewhere it is left out with a line in the log, for commands such as `airflow dags test` serialise all DAGs
    of a file, and would not get to the one that is asked for.

    For a task, Airflow names the one DAG that it needs, and no other definition is built once that is found.

    :param folder: absolute, or relative to the current one.
    :return: DAG id → DAG, in the order of the files; for a task, its own is among them.
    :raises DefinitionError: if the folder is not there.
    """
    place = Path(folder)
    if not place.is_dir():
        raise DefinitionError(
            f"The folder of definitions {str(place)!r} is not there.",
            hint="Make it, or set [caf] definitions_folder to another one.",
        )
    dags: dict[str, DAG] = {}
    files: dict[str, Path] = {}
    wanted = get_parsing_context().dag_id
    for path in _sort_by_hope(list_definition_files(place), wanted):
        try:
            built = _build_dags_of(path, place)
            for dag in built:
                if dag.dag_id in dags:
                    raise DefinitionError(
                        f"There are two definitions named {dag.dag_id!r}: the other is in {files[dag.dag_id]}.",
                        hint="Rename one of them.",
                        file=str(path),
                    )
        except Exception as error:  # noqa: BLE001 - a Python file may raise anything; it is shown as this file's error
            if os.environ.get(_PROCESS_CONTEXT) == "client":
                broken = BrokenDefinition.of(path, error)
                dags[broken.dag_id] = broken
            else:
                _log.error("The definition %s cannot be used: %s", path, error)
            continue
        for dag in built:
            dags[dag.dag_id] = dag
            files[dag.dag_id] = path
        if wanted in dags:
            break
    return dags


def _sort_by_hope(paths: list[Path], dag_id: str | None) -> list[Path]:
    """Return definition files in their order, those first whose text has the name of a DAG.

    The others may have it all the same: Python puts names together, and YAML may write letters by their numbers.
    """
    if dag_id is None:
        return paths
    return sorted(paths, key=lambda path: not _has_text(path, dag_id.encode()))


def _has_text(path: Path, text: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return text in file.read(MAX_BYTES)
    except OSError:
        return False  # what is wrong is told where the definition is read


def _build_dags_of(path: Path, folder: Path) -> list[DAG]:
    if is_script_run(path):
        # Its operators import Airflow's models, which takes as long as all of ours together.
        from airflow_provider_caf.factory.script import build_script_runner

        return [build_script_runner(folder, read_script_run(path))]
    return [build_dag(caf) for caf in load_definitions(path)]
