"""The web application behind the CAF page: static files for every visitor, and data for users who may see the DAG.

Every route under `api` asks Airflow whether the user may see this DAG. What changes a run is not here: the page asks
Airflow's own REST API for it, with the user's own session.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles

from airflow_provider_caf.core.errors import CafError, DatabaseError
from airflow_provider_caf.io.catalog import FigureRow
from airflow_provider_caf.plugin import views
from airflow_provider_caf.plugin.requests import CatalogDep, RunDep
from airflow_provider_caf.status.airflow_run import list_runs

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""A picture or a log, opened by itself, can run nothing."""


def _refuse_nul() -> Response:
    return JSONResponse({"detail": "The address has a NUL in it."}, status_code=422)


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
        # No name has one, and not every database takes one in a text.
        has_nul = "\0" in request.scope["path"] or "\0" in unquote(request.url.query)
        response = _refuse_nul() if has_nul else await call_next(request)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-cache")
        return response

    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CafError)
    if not isinstance(error, DatabaseError):
        return JSONResponse({"detail": error.what, "hint": error.hint}, status_code=404)
    # It names the server and its user, which are nothing to whoever may look at a run.
    log.error("%s", error)
    hint = "It may be there again in a moment; if not, the log of the API server says what the database says."
    return JSONResponse({"detail": "The results catalog cannot be read.", "hint": hint}, status_code=503)


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


def get_run(run: RunDep, answer: Annotated[dict[str, Any], Depends(views.build_run)], user: GetUserDep) -> Any:
    """Return how far a run is, and what the user may do with it."""
    return {**answer, "may": _list_rights(run.dag_id, user)}


def get_log(text: Annotated[str, Depends(views.find_log)]) -> Response:
    """Return the end of a log, as plain text."""
    return PlainTextResponse(text, headers={"Content-Security-Policy": _FILE_POLICY})


def get_figure(figure: Annotated[FigureRow, Depends(views.find_figure)]) -> Response:
    """Return a picture that an algorithm has handed in."""
    return Response(figure.content, media_type=figure.media_type, headers={"Content-Security-Policy": _FILE_POLICY})


for _route, _answer, *_rights in (
    ("run", get_run, DagAccessEntity.TASK_INSTANCE),
    ("calibration", views.build_calibration, DagAccessEntity.TASK_INSTANCE),
    ("executions", views.build_executions, DagAccessEntity.TASK_INSTANCE),
    ("execution", views.build_execution, DagAccessEntity.TASK_INSTANCE),
    ("map", views.build_map),
    ("payload", views.build_payload),
    ("trend", views.build_trend),
    ("failures", views.build_failures, DagAccessEntity.TASK_LOGS),
    ("log", get_log, DagAccessEntity.TASK_LOGS),
    ("figure", get_figure),
):
    router.add_api_route(
        f"/dags/{{dag_id}}/{_route}",
        _answer,
        dependencies=[Depends(requires_access_dag("GET", right)) for right in (DagAccessEntity.RUN, *_rights)],
        response_model=None if _answer in (get_log, get_figure) else Any,
    )


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
