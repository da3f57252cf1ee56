"""Ask every route of the CAF page for anything, in Airflow's own application: `test_fuzzed_routes.py` runs it.

Airflow's database is that of the environment; the catalog lies in it, too. It prints, as JSON, how many answers had
which status, and ends with an error at the first answer that is not the visitor's fault.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import schemathesis
from airflow import settings
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from airflow_provider_caf.io.catalog import Catalog
from airflow_provider_caf.plugin import requests
from airflow_provider_caf.plugin.app import build_app
from tests.unit.io.catalog_rows import RUN as PLACE
from tests.unit.io.catalog_rows import (
    make_execution,
    make_failed,
    make_figure,
    make_iteration,
    make_log,
    make_monitored,
    make_payload,
    make_run,
    make_subjobs,
)

EXAMPLES = 25
"""Requests to each route, half of them of a run that there is."""

FINE = {200, 403, 404, 422}
"""403: there is no such DAG, or the visitor may not see it; 404: nothing is there; 422: no route takes this."""


NAMES = {
    "name": "vertex",
    "payload": "BeamSpot",
    "iov": "0,0,-1,-1",
    "algorithm": "fit",
    "figure": "residuals",
    "step": "default",
}


def fill() -> None:
    """Make a run with a row of each kind. The catalog is in Airflow's own database."""
    import_all_models()  # type: ignore[no-untyped-call]
    Base.metadata.create_all(settings.engine)
    assert settings.Session is not None
    with settings.Session() as session:
        session.add(DagBundleModel(name="dags-folder"))
        session.flush()
        dag = DagModel(dag_id=PLACE[0], bundle_name="dags-folder", fileloc="/dags/dag.py")  # type: ignore[no-untyped-call]
        session.add(dag)
        session.flush()
        now = datetime.now(UTC)
        run = DagRun(
            dag_id=PLACE[0],
            run_id=PLACE[1],
            run_type=DagRunType.MANUAL,
            run_after=now,
            triggered_by=DagRunTriggeredByType.TEST,
        )
        session.add(run)
        session.commit()
    rows = (make_iteration, make_execution, make_payload, make_subjobs, make_failed, make_monitored, make_figure)
    assert settings.engine is not None
    catalog = Catalog(settings.engine)
    catalog.write([make_run(), make_log(), *(make() for make in rows)])
    patch.object(requests, "find_catalog", lambda: catalog).start()


def ask(client: TestClient, case: Any, words: dict[str, Any], *, is_known: bool) -> int:
    """Ask for a case, of the run that there is or of whatever the case says, and return the status of the answer."""
    path, query = dict(case.path_parameters or {}), dict(case.query or {})
    if is_known:
        path |= {"dag_id": PLACE[0]} if path else {}
        query |= {"run_id": PLACE[1]} | {name: value for name, value in words.items() if name in query}
    case.path_parameters, case.query = path, query
    wanted = case.as_transport_kwargs(base_url="http://testserver/caf")
    answer = client.request(**{name: wanted[name] for name in ("method", "url", "params") if name in wanted})
    assert answer.status_code in FINE, f"{answer.status_code} for {answer.request.url}: {answer.text[:500]}"
    return int(answer.status_code)


def main() -> int:
    """Fuzz all routes."""
    logging.disable(logging.CRITICAL)
    fill()
    schema = schemathesis.openapi.from_dict(build_app().openapi())
    found: Counter[int] = Counter()
    texts = st.one_of(st.text(), st.sampled_from(["\0", "fit\0", "\ufffd" * 300, "'; --", "%00"]))
    numbers = st.sampled_from([0, 0, 0, -1, -2, 2**31 - 1, 2**31, 2**63, -(10**30), "x", "", "\0"])
    words: dict[str, st.SearchStrategy[Any]] = {name: st.one_of(st.just(word), texts) for name, word in NAMES.items()}
    words |= dict.fromkeys(("iteration", "key", "subjob", "attempt", "offset"), numbers)
    client = TestClient(create_app("core"), raise_server_exceptions=False)
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="admin", role="ADMIN"))
    client.headers["Authorization"] = f"Bearer {token}"
    for result in schema.get_all_operations():
        operation = result.ok()  # type: ignore[union-attr]  # an error of the schema has no such method, and ends it

        @hypothesis_settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(), words=st.fixed_dictionaries(words), is_known=st.booleans())
        def fuzz(case: Any, words: dict[str, Any], is_known: bool) -> None:
            found[ask(client, case, words, is_known=is_known)] += 1

        fuzz()
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
