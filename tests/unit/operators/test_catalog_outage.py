"""While the results catalog is away, every step of a calibration ends as it would with it, and the rows come later."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from airflow.sdk import DAG

from airflow_provider_caf.core.errors import DatabaseError
from airflow_provider_caf.io.catalog import Catalog, ExecutionRow, IterationRow, PayloadRow, SubjobsRow, journal
from airflow_provider_caf.operators import ending
from airflow_provider_caf.operators.decide import DecideOperator
from airflow_provider_caf.operators.ending import ReportOperator
from airflow_provider_caf.operators.finish import FinishOperator
from airflow_provider_caf.site import places
from tests.unit.conftest import Lab
from tests.unit.operators.test_strategy_job import calibrate, context, set_up

__all__ = ["context"]  # a fixture

pytestmark = pytest.mark.without_root


def refuse(*_: object) -> NoReturn:
    raise DatabaseError("The results catalog postgresql://db could not be read: connection <refused>")


def finish(context: Any) -> None:
    """Run the last steps of the calibration."""
    context["ti"].xcom_push = lambda **_: None
    with DAG("lab"):
        DecideOperator(task_id="decide", calibration="vertex", iteration=0).execute(context)
        FinishOperator(task_id="finish", calibration="vertex").execute(context)


def read_rows(catalog: Catalog, lab: Lab) -> list[Any]:
    """Read what does not differ from one run to the next."""
    place = (lab.run.dag_id, lab.run.run_id)
    executions = [(row.key, row.iov, row.code, row.output) for row in catalog.read(ExecutionRow, *place)]
    payloads = [(row.name, row.iov, row.final) for row in catalog.read(PayloadRow, *place)]
    return [*executions, *payloads, *((row.iteration, row.decision) for row in catalog.read(IterationRow, *place))]


@pytest.mark.parametrize("backend", [None, "local"])
def test_no_step_fails_for_it(lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch, backend: str | None) -> None:
    set_up(lab, backend=backend)
    calibrate(context)
    finish(context)
    catalog = places.find_catalog()
    expected = read_rows(catalog, lab)
    assert len(expected) == 9
    context["ti"].max_tries = 1
    set_up(lab, backend=backend)
    monkeypatch.setattr(journal, "_resting", {})
    with monkeypatch.context() as patch:
        patch.setattr(places, "find_catalog", refuse)
        calibrate(context)
        finish(context)
        catalog.forget_iterations(lab.run.dag_id, lab.run.run_id, "vertex")
        assert places.open_journal(lab.run).deliver() > 0
    journal._resting.clear()
    assert places.open_journal(lab.run).deliver() == 0
    assert read_rows(catalog, lab) == expected
    jobs = [row for row in catalog.read(SubjobsRow, lab.run.dag_id, lab.run.run_id) if row.calibration == "fit"]
    assert [row.done for row in jobs] == ([] if backend is None else [1])


def test_the_report_says_that_it_comes_later(
    lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    context["ti"].get_task_states = lambda *_, **__: {}
    context["dag_run"] = SimpleNamespace(start_date=None)
    monkeypatch.setattr(ending, "find_catalog", refuse)
    path = Path(ReportOperator(task_id="report").execute(context))
    text = path.read_text()
    assert "connection &lt;refused&gt;" in text
    assert f"airflow caf report {lab.run.dag_id}" in text
    monkeypatch.undo()
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", str(lab.run.work_dir))
    monkeypatch.setattr(ending, "find_catalog", lambda _: lab.catalog)
    assert Path(ReportOperator(task_id="report").execute(context)) == path
    assert "refused" not in path.read_text()
