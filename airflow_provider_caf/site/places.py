"""Where things are: the folders of runs and definitions, and the catalog behind an ordinary Airflow SQL connection."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from airflow.sdk import BaseHook, Connection, conf
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.io.catalog import Catalog, open_sqlite_catalog
from airflow_provider_caf.io.layout import check_work_dir, default_catalog_file


def find_work_dir() -> Path:
    """Return the folder of all runs: `[caf] work_dir`, or the folder `caf` in AIRFLOW_HOME.

    :raises DefinitionError: if that cannot be used; no file is touched.
    """
    configured = conf.get("caf", "work_dir", fallback="")
    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
    work_dir = Path(configured) if configured else home / "caf"
    check_work_dir(work_dir)
    return work_dir


def find_configured_folder() -> Path | None:
    """Return `[caf] definitions_folder`, where it is set."""
    configured = conf.get("caf", "definitions_folder", fallback="")
    return Path(configured) if configured else None


def find_catalog(work_dir: Path) -> Catalog:
    """Give the catalog of `[caf] catalog_conn_id`, or the SQLite file beside the work folder.

    It is the same one for every caller in this process, with the connections that it holds.

    :param work_dir: the folder of all runs.
    :raises DefinitionError: if the connection is not one to an SQL database.
    """
    conn_id = conf.get("caf", "catalog_conn_id", fallback="caf_catalog")
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        file = default_catalog_file(work_dir)
        return _CATALOGS.find(str(file), "", lambda: open_sqlite_catalog(file))
    return _CATALOGS.find(conn_id, connection.get_uri(), lambda: _open_connection(conn_id, connection))


def _open_connection(conn_id: str, connection: Connection) -> Catalog:
    hook = connection.get_hook()  # type: ignore[no-untyped-call]
    if not hasattr(hook, "get_sqlalchemy_engine"):
        raise DefinitionError(
            f"The connection {conn_id!r} is of type {hook.conn_type!r}, which is no SQL database.",
            hint="Give it the type sqlite, postgres or mysql, or set another one in [caf] catalog_conn_id.",
        )
    return Catalog(hook.get_sqlalchemy_engine())


class _Catalogs:
    """The catalogs of this process: as a rule one, however many triggers and requests ask for it."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self._open: dict[str, tuple[str, Catalog]] = {}
        self._inherited: list[dict[str, tuple[str, Catalog]]] = []

    def find(self, place: str, state: str, make: Callable[[], Catalog]) -> Catalog:
        """Give the catalog at a place, which is opened once.

        :param state: what it was opened with; where that has changed it is opened anew. It may hold a password.
        """
        digest = hashlib.sha256(state.encode("utf-8", "surrogateescape")).hexdigest()
        with self._mutex:
            if self._pid != os.getpid():
                # A child of a fork must not speak in its parent's connections, nor close them by dropping them.
                self._inherited.append(self._open)
                self._open, self._pid = {}, os.getpid()
            known = self._open.get(place)
            if known is None or known[0] != digest:
                known = self._open[place] = (digest, make())
            return known[1]


_CATALOGS = _Catalogs()
