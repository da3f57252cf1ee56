"""What the routes of the CAF page take from a request, beside its plain words: the run, the catalog, an IoV."""

from __future__ import annotations

from typing import Annotated

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import Depends, Query

from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.catalog import Catalog
from airflow_provider_caf.site.places import find_catalog
from airflow_provider_caf.status.airflow_run import RunRow, read_run


def _open_catalog() -> Catalog:
    return find_catalog()


def _find_run(dag_id: str, run_id: str, session: SessionDep) -> RunRow:
    return read_run(dag_id, run_id, session)


def _read_iov(iov: str) -> IoV:
    return IoV.parse(iov)


CatalogDep = Annotated[Catalog, Depends(_open_catalog)]
"""The catalog; the process opens it once."""
RunDep = Annotated[RunRow, Depends(_find_run)]
"""The DAG run, by its id or `last`, from Airflow's database."""
Number = Annotated[int, Query(ge=-1, le=2**31 - 1)]
"""A whole number that every database takes."""
IovDep = Annotated[IoV, Depends(_read_iov)]
