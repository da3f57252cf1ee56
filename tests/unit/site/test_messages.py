"""What notifications say."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, BaseNotifier

from airflow_provider_caf import CAF, Calibration, build_dag
from airflow_provider_caf.core.errors import AlgorithmFailed
from airflow_provider_caf.site.messages import build_message

RUN = "manual__2026-01-01T00:00:00+00:00"
PAGE = "/caf/?dag_id=lab&run_id=manual__2026-01-01T00%3A00%3A00%2B00%3A00"


def make_context(task_id: str, **more: Any) -> dict[str, Any]:
    ti = SimpleNamespace(task_id=task_id, run_id=RUN, state="success")
    return {"dag": SimpleNamespace(dag_id="lab"), "run_id": RUN, "ti": ti, **more}


def test_a_failure_names_calibration_iteration_and_reason() -> None:
    error = AlgorithmFailed("The fit did not converge.", hint="Give it more data.")
    text = build_message(make_context("vertex.iteration_2.Mean", exception=error))
    assert text.splitlines()[0] == f"CAF lab, run {RUN}: calibration vertex, iteration 2, Mean failed."
    assert "The fit did not converge." in text
    assert text.endswith(PAGE)


@pytest.mark.parametrize(
    ("task_id", "named"),
    [
        ("vertex.finish", "calibration vertex, finish ended well"),
        ("vertex.iteration_0.hits.wait", "calibration vertex, iteration 0, hits.wait ended well"),
        ("join", "the task join ended well"),
    ],
)
def test_a_success_names_its_task(task_id: str, named: str) -> None:
    assert build_message(make_context(task_id)).splitlines()[0] == f"CAF lab, run {RUN}: {named}."


def test_an_error_without_a_text_has_its_name() -> None:
    assert "Reason: KeyError" in build_message(make_context("vertex.prepare", exception=KeyError()))


def test_a_long_reason_is_cut() -> None:
    text = build_message(make_context("vertex.prepare", exception=ValueError("x" * 100_000)))
    assert len(text) < 3000


def test_a_whole_dag_says_what_airflow_says() -> None:
    text = build_message(make_context("vertex.finish", reason="task_failure"))
    assert text.splitlines() == [f"CAF lab, run {RUN}: ended: task_failure.", f"See {PAGE}"]
    without_task = {"dag": SimpleNamespace(dag_id="lab"), "run_id": RUN, "reason": "timed_out"}
    assert "ended: timed_out" in build_message(without_task)


class Notifier(BaseNotifier):
    """As a site would have it: its message is a template."""

    template_fields = ("message",)
    sent: list[str] = []  # noqa: RUF012

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message

    def notify(self, context: Any) -> None:
        self.sent.append(self.message)


@pytest.fixture
def dag() -> Iterator[DAG]:
    Notifier.sent.clear()
    notifier = Notifier("Look: {{ caf_message() }}")
    caf = CAF("lab", [Calibration("vertex", collector="m:C", input_files=["/a"], algorithms="m:A")])
    yield build_dag(caf, default_args={"on_failure_callback": notifier}, user_defined_macros={"site": "here"})
    Notifier.sent.clear()


def test_a_notifier_has_the_message_in_its_template(dag: DAG) -> None:
    task = dag.get_task("vertex.prepare")
    context: Any = {**make_context("vertex.iteration_0.A", exception=ValueError("no peak")), "dag": dag}
    callbacks: Any = task.on_failure_callback
    assert len(callbacks) == 1
    callbacks[0](context)
    (sent,) = Notifier.sent
    assert sent.startswith("Look: CAF lab, run ")
    assert "calibration vertex, iteration 0, A failed." in sent
    assert "Reason: no peak" in sent


def test_macros_of_the_site_stay(dag: DAG) -> None:
    assert dag.user_defined_macros is not None
    assert dag.user_defined_macros["site"] == "here"
