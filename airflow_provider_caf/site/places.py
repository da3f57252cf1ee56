"""Where things are: the folders of runs and definitions, and the catalog behind an ordinary Airflow SQL connection."""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path

from airflow.sdk import BaseHook, Connection, conf
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_caf.core.errors import DatabaseError, DefinitionError
from airflow_provider_caf.io.catalog import Catalog, CatalogJournal, open_sqlite_catalog
from airflow_provider_caf.io.layout import RunLayout, check_work_dir, default_catalog_file
from airflow_provider_caf.site.shared import Shared

_DEFAULT_CONNECTION = "caf_catalog"


def find_work_dir(given: str | None = None) -> Path:
    """Return the folder of all runs: `[caf] work_dir`, or the folder `caf` in AIRFLOW_HOME.

    :param given: the one that a task has instead.
    :raises DefinitionError: if its path cannot be one; no file is touched.
    """
    configured = given or conf.get("caf", "work_dir", fallback="")
    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
    work_dir = Path(configured) if configured else home / "caf"
    check_work_dir(work_dir)
    return work_dir


def find_run_layout(dag_id: str, run_id: str) -> RunLayout:
    """Return the paths of a DAG run."""
    return RunLayout(work_dir=find_work_dir(), dag_id=dag_id, run_id=run_id)


def find_configured_folder() -> Path | None:
    """Return `[caf] definitions_folder`, where it is set."""
    configured = conf.get("caf", "definitions_folder", fallback="")
    return Path(configured) if configured else None


def find_catalog(work_dir: Path | None = None) -> Catalog:
    """Return the catalog of `[caf] catalog_conn_id`, or the SQLite file beside the work folder.

    It is the same one for every caller in this process, with the connections that it holds.

    :param work_dir: the folder of all runs; None: the one that is configured.
    :raises DefinitionError: if the connection is not one to an SQL database, or one that is set cannot be found.
    :raises DatabaseError: if it cannot be used, or asked for.
    """
    conn_id = conf.get("caf", "catalog_conn_id", fallback="") or _DEFAULT_CONNECTION
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        # Airflow says the same of a text that it cannot read: only what nobody has set is not there.
        variable = f"AIRFLOW_CONN_{conn_id.upper()}"
        if os.environ.get(variable):
            raise DefinitionError(
                f"Airflow cannot read the connection of the results catalog in the variable {variable}.",
                hint="It is a URI such as postgres://user:password@host:5432/database, or JSON with conn_type.",
            ) from error
        if conn_id != _DEFAULT_CONNECTION:
            raise DefinitionError(
                f"The connection {conn_id!r} of the results catalog, set in [caf] catalog_conn_id, is not there.",
                hint=f"Add it by 'airflow connections add {shlex.quote(conn_id)}', or take the setting away.",
            ) from error
        file = default_catalog_file(work_dir or find_work_dir())
        return _CATALOGS.find(str(file), "", lambda: open_sqlite_catalog(file))
    except Exception as error:
        raise DatabaseError(
            f"The connection {conn_id!r} to the results catalog could not be asked for: {error}",
            hint="Do Airflow's API server and its secrets backend answer?",
        ) from error
    return _CATALOGS.find(conn_id, connection.get_uri(), lambda: _open_connection(conn_id, connection))


def open_journal(run: RunLayout) -> CatalogJournal:
    """Return what writes of a run go through: into the catalog, or beside the run's files until it can take them."""
    return CatalogJournal(partial(find_catalog, run.work_dir), run.folder, str(run.work_dir))


def _open_connection(conn_id: str, connection: Connection) -> Catalog:
    try:
        hook = connection.get_hook()  # type: ignore[no-untyped-call]
        engine = hook.get_sqlalchemy_engine() if hasattr(hook, "get_sqlalchemy_engine") else None
    except Exception as error:
        # Airflow, a provider and a driver each raise what they like: one is not installed, or a word of it is wrong.
        raise DatabaseError(
            f"The connection {conn_id!r} to the results catalog cannot be used: {type(error).__name__}: {error}",
            hint="Are its type, host and extra right, and its provider package and driver installed?",
        ) from error
    if engine is None:
        raise DefinitionError(
            f"The connection {conn_id!r} is of type {hook.conn_type!r}, which is no SQL database.",
            hint="Give it the type sqlite, postgres or mysql, or set another one in [caf] catalog_conn_id.",
        )
    return Catalog(engine)


_CATALOGS: Shared[str, Catalog] = Shared()
