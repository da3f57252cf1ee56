"""The web application behind the CAF page: static files for every visitor, and data for users who may see the DAG.

Every route under `api` asks Airflow whether the user may see this DAG. What changes a run is not here: the page asks
Airflow's own REST API for it, with the user's own session.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles

from airflow_provider_caf.core.errors import CafError, DatabaseError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.catalog import Catalog
from airflow_provider_caf.plugin import views
from airflow_provider_caf.site.places import find_catalog, find_work_dir
from airflow_provider_caf.status.airflow_run import RunRow, list_runs, read_run

STATIC = Path(__file__).parent / "static"

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""A picture or a log, opened by itself, can run nothing."""

_MAY_SEE = Depends(requires_access_dag("GET", DagAccessEntity.RUN))
_MAY_SEE_TASKS = Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))
_MAY_SEE_LOGS = Depends(requires_access_dag("GET", DagAccessEntity.TASK_LOGS))

RunId = Annotated[str, Query(description="The DAG run, or `last`.")]


def build_app() -> FastAPI:
    """Make the application."""
    app = FastAPI(title="CAF", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router, prefix="/api")
    app.add_exception_handler(CafError, _answer_error)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    def show_page() -> Response:
        # The page itself is empty, and the same for every visitor.
        return FileResponse(STATIC / "index.html", headers={"Content-Security-Policy": _PAGE_POLICY})

    @app.middleware("http")
    async def add_headers(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-cache")
        return response

    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CafError)
    # A catalog that cannot be read may be there again in a moment; what somebody asks for and is not there will not.
    status = 503 if isinstance(error, DatabaseError) else 404
    return JSONResponse({"detail": error.what, "hint": error.hint}, status_code=status)


def open_catalog() -> Catalog:
    """Return the catalog; the process opens it once."""
    return find_catalog(find_work_dir())


CatalogDep = Annotated[Catalog, Depends(open_catalog)]


def find_run(dag_id: str, run_id: RunId, session: SessionDep) -> RunRow:
    """Read the run from Airflow's database."""
    return read_run(dag_id, run_id, session)


RunDep = Annotated[RunRow, Depends(find_run)]
router = APIRouter()


@router.get("/runs")
def get_runs(user: GetUserDep, session: SessionDep, catalog: CatalogDep, dag_id: str | None = None) -> Any:
    """List the newest runs of a DAG, or of all CAFs that the user may see."""
    allowed = get_auth_manager().get_authorized_dag_ids(user=user, method="GET", session=session)
    if dag_id is not None and dag_id not in allowed:
        raise HTTPException(403, "Forbidden")
    wanted = sorted({*catalog.list_dags()} & allowed) if dag_id is None else [dag_id]
    limit = 10 if dag_id is None else 50
    runs = [run for name in wanted for run in list_runs(session, name, limit=limit)]
    return views.build_runs(wanted, runs)


@router.get("/dags/{dag_id}/run", dependencies=[_MAY_SEE, _MAY_SEE_TASKS])
def get_run(run: RunDep, catalog: CatalogDep, user: GetUserDep) -> Any:
    """Return how far a run is."""
    return {**views.build_run(run, catalog), "may": _list_rights(run.dag_id, user)}


@router.get("/dags/{dag_id}/calibration", dependencies=[_MAY_SEE, _MAY_SEE_TASKS])
def get_calibration(run: RunDep, catalog: CatalogDep, name: str) -> Any:
    """Return the details of one calibration."""
    return views.build_calibration(run, catalog, name)


@router.get("/dags/{dag_id}/executions", dependencies=[_MAY_SEE, _MAY_SEE_TASKS])
def get_executions(run: RunDep, catalog: CatalogDep, name: str, iteration: int) -> Any:
    """Return the executions of one pass of a calibration."""
    return views.build_executions(run, catalog, name, iteration)


@router.get("/dags/{dag_id}/execution", dependencies=[_MAY_SEE, _MAY_SEE_TASKS])
def get_execution(run: RunDep, catalog: CatalogDep, name: str, iteration: int, algorithm: str, key: int) -> Any:
    """Return one execution."""
    return views.build_execution(run, catalog, name, iteration, algorithm, key)


@router.get("/dags/{dag_id}/map", dependencies=[_MAY_SEE])
def get_map(run: RunDep, catalog: CatalogDep, name: str | None = None) -> Any:
    """Return the IoV map: the final payloads, of one calibration or of all."""
    return views.build_map(run, catalog, name)


@router.get("/dags/{dag_id}/payload", dependencies=[_MAY_SEE])
def get_payload(run: RunDep, catalog: CatalogDep, name: str, payload: str, iov: str) -> Any:
    """Return one final payload with its constants and the runs that were executed for it."""
    return views.build_payload(run, catalog, name, payload, IoV.parse(iov))


@router.get("/dags/{dag_id}/trend", dependencies=[_MAY_SEE])
def get_trend(
    run: RunDep, catalog: CatalogDep, name: str, payload: str, field: str = "", other: str | None = None
) -> Any:
    """Return a constant against the run, beside that of another DAG run or calibration where one is named."""
    return views.build_trend(run, catalog, name, payload, field, other)


@router.get("/dags/{dag_id}/failures", dependencies=[_MAY_SEE, _MAY_SEE_LOGS])
def get_failures(run: RunDep, catalog: CatalogDep, name: str | None = None, offset: int = 0) -> Any:
    """Return failed subjobs with the ends of their logs, some at a time."""
    return views.build_failures(run, catalog, name, max(0, offset))


@router.get("/dags/{dag_id}/log", dependencies=[_MAY_SEE, _MAY_SEE_LOGS])
def get_log(
    run: RunDep, catalog: CatalogDep, name: str, iteration: int, step: str, subjob: int = -1, attempt: int = 0
) -> Response:
    """Return the end of a log, as plain text."""
    text = views.find_log(run, catalog, name, iteration, step, subjob, attempt)
    return PlainTextResponse(text, headers={"Content-Security-Policy": _FILE_POLICY})


@router.get("/dags/{dag_id}/figure", dependencies=[_MAY_SEE])
def get_figure(
    run: RunDep, catalog: CatalogDep, name: str, iteration: int, algorithm: str, key: int, figure: str
) -> Response:
    """Return a picture that an algorithm has handed in."""
    found = views.find_figure(run, catalog, name, iteration, algorithm, key, figure)
    return Response(found.content, media_type=found.media_type, headers={"Content-Security-Policy": _FILE_POLICY})


def _list_rights(dag_id: str, user: Any) -> dict[str, bool]:
    """Return the rights of the user, so that the page offers nothing else. Airflow checks them again."""
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))

    def may(entity: DagAccessEntity) -> bool:
        return get_auth_manager().is_authorized_dag(method="PUT", access_entity=entity, details=details, user=user)

    return {
        "clear": may(DagAccessEntity.TASK_INSTANCE),
        "cancel": may(DagAccessEntity.RUN),
        "answer": may(DagAccessEntity.HITL_DETAIL),
    }
