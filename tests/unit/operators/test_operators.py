"""What is thin at the edge: constructors, where files lie, which errors a retry can mend, what goes to XCom."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, DownstreamTasksSkipped

from airflow_provider_caf.core import errors
from airflow_provider_caf.core.errors import (
    AlgorithmFailed,
    CafError,
    CheckpointError,
    DatabaseError,
    DefinitionError,
    InputError,
    JobFailed,
    NotEnoughData,
    PollError,
    SubmitError,
    TransportError,
)
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.operators.base import CafOperator, failing_for_good, find_run, find_work_dir
from airflow_provider_caf.operators.decide import DecideOperator
from airflow_provider_caf.operators.finish import FinishOperator
from airflow_provider_caf.operators.merge import CollectorMergeOperator
from airflow_provider_caf.operators.prepare import PrepareOperator
from airflow_provider_caf.operators.strategy import StrategyOperator
from airflow_provider_caf.operators.submit import CollectorSubmitOperator

if TYPE_CHECKING:
    from tests.unit.conftest import Lab

ARGUMENTS: dict[type[CafOperator], dict[str, Any]] = {
    PrepareOperator: {"definition": {"name": "vertex"}, "ancestors": ["a"], "backend_args": {"queue": "short"}},
    CollectorSubmitOperator: {"iteration": 1, "collection": "hits"},
    CollectorMergeOperator: {"iteration": 1, "collection": "hits"},
    StrategyOperator: {"iteration": 1, "algorithm": "mean"},
    DecideOperator: {"iteration": 1, "algorithms": ["mean"], "max_iterations": 3},
    FinishOperator: {},
}
OPERATORS = list(ARGUMENTS)


class Store(dict[str, Any]):
    def set(self, name: str, value: Any) -> None:
        self[name] = value


def make(cls: type[CafOperator], **changes: Any) -> CafOperator:
    return cls(task_id="task", calibration="vertex", **{**ARGUMENTS[cls], **changes})


@pytest.fixture
def context(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", str(lab.run.work_dir))
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(dag_id=lab.run.dag_id, run_id=lab.run.run_id, map_index=-1, pushed=pushed)
    ti.xcom_push = lambda key, value: pushed.update({key: value})
    return {"ti": ti, "task_state_store": Store()}


@pytest.mark.parametrize("cls", OPERATORS)
def test_constructors_keep_what_they_are_given(cls: type[CafOperator]) -> None:
    """Airflow makes operators again and again: to parse, to render, in the scheduler."""
    operator = make(cls)
    assert operator.calibration == "vertex"
    for name, value in ARGUMENTS[cls].items():
        assert getattr(operator, name) is value


@pytest.mark.parametrize("cls", OPERATORS)
def test_template_fields_are_attributes_that_the_constructor_takes(cls: type[CafOperator]) -> None:
    operator = make(cls)
    taken = {name for each in cls.__mro__ if "__init__" in vars(each) for name in inspect.signature(each).parameters}
    assert "calibration" in operator.template_fields
    assert [field for field in operator.template_fields if not hasattr(operator, field) or field not in taken] == []


def test_the_work_folder_is_the_one_that_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", "/data/caf")
    assert find_work_dir() == Path("/data/caf")


@pytest.mark.parametrize("configured", ["", None])
def test_without_a_setting_it_is_in_the_home_of_airflow(
    monkeypatch: pytest.MonkeyPatch, configured: str | None
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", "/home/of/airflow")
    if configured is None:
        monkeypatch.delenv("AIRFLOW__CAF__WORK_DIR", raising=False)
    else:
        monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", configured)
    assert find_work_dir() == Path("/home/of/airflow/caf")


def test_a_work_folder_that_is_relative_fails_for_good(monkeypatch: pytest.MonkeyPatch, context: Any) -> None:
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", "data/caf")
    with pytest.raises(DefinitionError, match="The work folder 'data/caf' is not an absolute path"):
        find_run(context)
    with pytest.raises(AirflowFailException, match="not an absolute path"):
        make(FinishOperator).execute(context)


@pytest.mark.parametrize("error", [DefinitionError, InputError, JobFailed, AlgorithmFailed, NotEnoughData])
def test_what_no_retry_mends_fails_at_once(error: type[CafError]) -> None:
    with pytest.raises(AirflowFailException) as caught, failing_for_good():
        raise error("what happened", hint="what to do")
    assert str(caught.value) == "what happened\n  hint: what to do"
    assert isinstance(caught.value.__cause__, error)


@pytest.mark.parametrize("error", [TransportError, SubmitError, PollError, DatabaseError, CheckpointError])
def test_what_a_retry_may_mend_stays_as_it_is(error: type[CafError]) -> None:
    with pytest.raises(error), failing_for_good():
        raise error("what happened")


def test_every_error_was_thought_of() -> None:
    """A new class of errors has to be put into one of the two lists above."""

    def list_all(cls: type[CafError]) -> set[str]:
        return {cls.__name__}.union(*(list_all(each) for each in cls.__subclasses__()))

    package = {name for name in list_all(CafError) if hasattr(errors, name)}
    assert package == {
        "CafError",
        *("DefinitionError", "InputError", "JobFailed", "AlgorithmFailed", "NotEnoughData", "JobHeld", "JobLost"),
        *("TransportError", "SubmitError", "PollError", "DatabaseError", "CheckpointError"),
    }


def run_prepare(lab: Lab, context: Any, **changes: Any) -> Any:
    record = lab.calibration(collections={"default": lab.copies()}).build_record(2)
    return make(PrepareOperator, definition=record.to_json(), ancestors=[], backend_args={}, **changes).execute(context)


def test_prepare_and_submit_give_paths_and_counts(lab: Lab, context: Any) -> None:
    answer = run_prepare(lab, context)
    assert answer == {"folder": str(lab.layout().folder), "collections": {"default": {"files": 3, "subjobs": 3}}}
    answer = make(CollectorSubmitOperator, iteration=0, collection="default").execute(context)
    ids = lab.open().list_array_ids()
    assert answer == {"subjobs": 3, "submitted": 3, "array_ids": ids}
    assert context["task_state_store"] == {"array_ids": ids}
    lab.wait(lab.open())
    answer = make(CollectorSubmitOperator, iteration=0, collection="default").execute(context)
    assert answer == {"subjobs": 3, "submitted": 0, "array_ids": ids}


def test_prepare_reads_its_connection(lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"system": "local", "max_processes": 1}
    monkeypatch.setenv("AIRFLOW_CONN_FARM", json.dumps({"conn_type": "caf_batch", "extra": extra}))
    run_prepare(lab, context, connection="farm")
    assert lab.open().manifest.resources.max_processes == 1


def test_a_connection_to_another_system_fails_for_good(lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"system": "slurm"}
    monkeypatch.setenv("AIRFLOW_CONN_FARM", json.dumps({"conn_type": "caf_batch", "extra": extra}))
    with pytest.raises(AirflowFailException) as caught:
        run_prepare(lab, context, connection="farm")
    assert "The CAF runs on 'local', but its connection 'farm' is to 'slurm'." in str(caught.value)
    assert "Change the backend" in str(caught.value)


def make_decide(iteration: int) -> DecideOperator:
    """Give the decision task of a pass, with tasks of two passes after it."""
    with DAG("lab", schedule=None):
        tasks = [
            DecideOperator(
                task_id=f"vertex.iteration_{number}.decide",
                calibration="vertex",
                iteration=number,
                algorithms=["mean"],
                max_iterations=12,
            )
            for number in (0, 1, 2, 10, 12)
        ]
        FinishOperator(task_id="vertex.finish", calibration="vertex")
        FinishOperator(task_id="other.iteration_2.decide", calibration="other")
    return next(task for task in tasks if task.iteration == iteration)


def put_result(lab: Lab, code: int) -> None:
    layout = lab.layout().iteration(1).algorithm("mean")
    layout.folder.mkdir(parents=True)
    LocalDatabase(layout.database).create()
    layout.result.write_text(json.dumps({"codes": [code]}))


def test_content_algorithms_skip_all_later_passes_at_once(lab: Lab, context: Any) -> None:
    put_result(lab, 0)
    with pytest.raises(DownstreamTasksSkipped) as caught:
        make_decide(1).execute(context)
    assert sorted(str(task) for task in caught.value.tasks) == [
        f"vertex.iteration_{number}.decide" for number in (10, 12, 2)
    ]
    assert context["ti"].pushed["return_value"]["action"] == "FINISH"


def test_an_algorithm_that_wants_more_skips_nothing(lab: Lab, context: Any) -> None:
    put_result(lab, 1)
    assert make_decide(1).execute(context) is None
    assert context["ti"].pushed["return_value"]["action"] == "ITERATE"


def test_the_mixin_is_known_to_the_scheduler() -> None:
    """Without the flag Airflow would not skip again what somebody cleared."""
    assert DecideOperator.inherits_from_skipmixin is True
