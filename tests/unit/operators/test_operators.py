"""What is thin at the edge: constructors, where files lie, which errors a retry can mend, what goes to XCom."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, DownstreamTasksSkipped

from airflow_provider_caf import CAF, Calibration, build_dag
from airflow_provider_caf.core import errors
from airflow_provider_caf.core.errors import (
    AlgorithmDied,
    AlgorithmFailed,
    CafError,
    CheckpointError,
    CommandMissing,
    DatabaseError,
    DefinitionError,
    InputError,
    JobFailed,
    NotEnoughData,
    PollError,
    Stopped,
    SubmitError,
    SubmitRefused,
    SubmitUnknown,
    TransportError,
    TransportTimeout,
)
from airflow_provider_caf.io.layout import check_work_dir
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.operators.base import CafOperator, failing_for_good, find_run
from airflow_provider_caf.operators.decide import DecideOperator
from airflow_provider_caf.operators.finish import FinishOperator
from airflow_provider_caf.operators.member import StepOperator
from airflow_provider_caf.operators.merge import CollectorMergeOperator
from airflow_provider_caf.operators.prepare import PrepareOperator
from airflow_provider_caf.operators.strategy import StrategyOperator
from airflow_provider_caf.operators.submit import CollectorSubmitOperator
from airflow_provider_caf.site.places import find_work_dir
from airflow_provider_caf.steps.manifest import CalibrationManifest, CollectionManifest
from tests.unit.operators.running import build_context, run_task
from tests.unit.store import Store

if TYPE_CHECKING:
    from tests.unit.conftest import Lab

ARGUMENTS: dict[type[CafOperator], dict[str, Any]] = {
    PrepareOperator: {},
    StepOperator: {},
    CollectorSubmitOperator: {"iteration": 1, "collection": "hits"},
    CollectorMergeOperator: {"iteration": 1, "collection": "hits"},
    StrategyOperator: {"iteration": 1, "algorithm": "mean"},
    DecideOperator: {"iteration": 1},
    FinishOperator: {},
}
OPERATORS = list(ARGUMENTS)


def make(cls: type[CafOperator], **changes: Any) -> CafOperator:
    return cls(task_id="task", calibration="vertex", **{**ARGUMENTS[cls], **changes})


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
    context: Any = {"task_state_store": Store()}
    with pytest.raises(AirflowFailException) as caught, failing_for_good(context):
        raise error("what happened", hint="what to do")
    assert context["task_state_store"] == {"reason": "what happened\n  hint: what to do"}
    assert str(caught.value) == "what happened\n  hint: what to do"
    assert isinstance(caught.value.__cause__, error)


@pytest.mark.parametrize(
    "error",
    [
        *(TransportError, CommandMissing, TransportTimeout, SubmitError, SubmitRefused, SubmitUnknown, PollError),
        *(DatabaseError, CheckpointError, AlgorithmDied, Stopped),
    ],
)
def test_what_a_retry_may_mend_stays_as_it_is(error: type[CafError]) -> None:
    context: Any = {"task_state_store": Store()}
    with pytest.raises(error), failing_for_good(context):
        raise error("what happened")
    assert context["task_state_store"] == {"reason": "what happened"}


def test_every_error_was_thought_of() -> None:
    """A new class of errors has to be put into one of the two lists above."""

    def list_all(cls: type[CafError]) -> set[str]:
        return {cls.__name__}.union(*(list_all(each) for each in cls.__subclasses__()))

    package = {name for name in list_all(CafError) if hasattr(errors, name)}
    assert package == {
        "CafError",
        *("DefinitionError", "InputError", "JobFailed", "AlgorithmFailed", "NotEnoughData", "JobHeld", "JobLost"),
        *(
            "TransportError",
            "CommandMissing",
            "TransportTimeout",
            "SubmitRefused",
            "SubmitUnknown",
            "SubmitError",
            "PollError",
            "DatabaseError",
            "CheckpointError",
            "AlgorithmDied",
            "Stopped",
        ),
    }


def run_prepare(lab: Lab, context: Any, backend_args: dict[str, Any] | None = None, **changes: Any) -> Any:
    collection = lab.copies(backend_args=backend_args or {})
    caf = CAF("lab", [lab.calibration(collections={"default": collection})], **changes)
    dag = build_dag(caf)
    context = build_context(context, dag)
    run_task(dag, "configure", context)
    return run_task(dag, "vertex.prepare", context)


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


@pytest.mark.parametrize("backend", [None, "", "Slurm"])
def test_the_connection_says_the_system(
    lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch, backend: str | None
) -> None:
    extra = {"system": "Slurm", "ssh_conn_id": "login", "queue": "main"}
    monkeypatch.setenv("AIRFLOW_CONN_FARM", json.dumps({"conn_type": "caf_batch", "extra": extra}))
    run_prepare(lab, context, backend=backend, connection="farm")
    manifest = CollectionManifest.read(lab.layout().iteration(0).collection("default"))
    assert (manifest.backend, manifest.connection) == ("slurm", "farm")
    assert manifest.resources.queue == "main"


def test_what_has_no_effect_is_said(lab: Lab, context: Any, caplog: pytest.LogCaptureFixture) -> None:
    run_prepare(lab, context, {"queue": "short", "memory": 100})
    said = [each.getMessage() for each in caplog.records if each.name == "airflow_provider_caf.steps.prepare"]
    assert said == ["Collection default: local has no use for the backend_args memory, queue; they have no effect."]


def test_a_connection_to_another_system_fails_for_good(lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"system": "slurm"}
    monkeypatch.setenv("AIRFLOW_CONN_FARM", json.dumps({"conn_type": "caf_batch", "extra": extra}))
    with pytest.raises(AirflowFailException) as caught:
        run_prepare(lab, context, backend="Local", connection="farm")
    assert "Calibration 'vertex' runs on 'local', but its connection 'farm' is to 'slurm'." in str(caught.value)
    assert "Change the backend" in str(caught.value)


def make_decide(iteration: int) -> DecideOperator:
    """Give the decision task of a pass, with tasks of two passes after it."""
    with DAG("lab", schedule=None):
        tasks = [
            DecideOperator(
                task_id=f"vertex.iteration_{number}.decide",
                calibration="vertex",
                iteration=number,
            )
            for number in (0, 1, 2, 10, 12)
        ]
        FinishOperator(task_id="vertex.finish", calibration="vertex")
        FinishOperator(task_id="other.iteration_2.decide", calibration="other")
    return next(task for task in tasks if task.iteration == iteration)


def put_result(lab: Lab, code: int) -> None:
    lab.prepare(lab.calibration(algorithms=lab.algorithm(name="mean"), max_iterations=12))
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


def test_a_run_may_lower_the_number_of_passes(lab: Lab, context: Any) -> None:
    dag = build_dag(CAF("lab", [lab.calibration(max_iterations=3)]))
    context = build_context(context, dag, {"max_iterations": 1})
    run_task(dag, "configure", context)
    run_task(dag, "vertex.prepare", context)
    manifest = CalibrationManifest.read(lab.layout())
    assert manifest.calibration.max_iterations == 1


def test_a_calibration_that_the_run_leaves_out_is_skipped(lab: Lab, context: Any) -> None:
    other = lab.calibration("other", depends_on=["vertex"])
    dag = build_dag(CAF("lab", [lab.calibration(), other]))
    context = build_context(context, dag, {"calibrations": ["other"]})
    assert run_task(dag, "configure", context)["calibrations"] == ["other"]
    with pytest.raises(AirflowSkipException, match="leaves out calibration 'vertex'"):
        run_task(dag, "vertex.prepare", context)
    run_task(dag, "other.prepare", context)
    # What it depends on is not there, and nobody looks for it.
    assert CalibrationManifest.read(lab.layout("other")).database_chain == ()


@pytest.mark.parametrize(
    ("conf", "what"),
    [
        ({"max_iteration": 1}, "unknown word 'max_iteration'.*Did you mean 'max_iterations'"),
        ({"expert_config": {"leest": 1}}, "expert_config of this run has 'leest'.*Did you mean 'least'"),
        ({"input_data": {"event": ["/a"]}}, "input_data of this run has 'event'.*Did you mean 'events'"),
        ({"calibrations": ["vertx"]}, "calibrations of this run has 'vertx'.*Did you mean 'vertex'"),
        ({"input_data": {"events": ["/nowhere/*.root"]}}, "matches no file"),
        ({"requested_iov": [2, 0, 1, 0]}, "ends before it starts"),
        ({"ignored_runs": ["17"]}, "'17' is not a run"),
        ({"backend_args": {"memory": "much"}}, "'much'"),
    ],
)
def test_a_bad_conf_is_refused_before_anything_is_submitted(
    lab: Lab, context: Any, conf: dict[str, Any], what: str
) -> None:
    calibration = Calibration(
        "vertex",
        lab.files.name("HitCollector"),
        lab.algorithm(settings={"least": "{{ params.expert_config.least }}"}),
        input_data="events",
    )
    caf = CAF(
        "lab",
        [calibration],
        expert_config={"least": 1},
        input_data={"events": [str(path) for path in lab.files.events]},
    )
    dag = build_dag(caf)
    context = build_context(context, dag, conf)

    def run() -> None:
        run_task(dag, "configure", context)
        run_task(dag, "vertex.prepare", context)

    with pytest.raises(AirflowFailException) as caught:
        run()
    assert re.search(what, str(caught.value), re.DOTALL)


def test_params_of_a_run_reach_the_calibration(lab: Lab, context: Any) -> None:
    calibration = Calibration(
        "vertex",
        lab.files.name("HitCollector"),
        lab.algorithm(settings={"least": "{{ params.expert_config.least }}"}),
        input_data="events",
        ignored_runs=["1.1"],
    )
    files = [str(path) for path in lab.files.events]
    caf = CAF("lab", [calibration], expert_config={"least": 1}, input_data={"events": files[:1]})
    dag = build_dag(caf)
    conf = {
        "input_data": {"events": files},
        "expert_config": {"least": 5},
        "ignored_runs": [[1, 2]],
        "backend_args": {"max_processes": 1},
        "global_tags": ["main"],
    }
    context = build_context(context, dag, conf)
    run_task(dag, "configure", context)
    run_task(dag, "vertex.prepare", context)
    manifest = CalibrationManifest.read(lab.layout())
    # A template that stands alone keeps the type of its value.
    assert manifest.calibration.algorithms[0].settings == {"least": 5}
    assert [str(run) for run in manifest.calibration.ignored_runs] == ["1.2", "1.1"]
    assert manifest.resources.max_processes == 1
    assert [entry.value for entry in manifest.database_chain] == ["main"]
    assert len(CollectionManifest.read(lab.layout().iteration(0).collection("default")).subjobs) == len(files)


def test_a_corrected_definition_counts_from_the_next_clear_of_prepare(lab: Lab, context: Any) -> None:
    first = build_dag(CAF("lab", [lab.calibration(algorithms=lab.algorithm(settings={"least": 1}))]))
    context = build_context(context, first)
    run_task(first, "configure", context)
    corrected = build_dag(CAF("lab", [lab.calibration(algorithms=lab.algorithm(settings={"least": 7}))]))
    run_task(corrected, "vertex.prepare", context)
    assert CalibrationManifest.read(lab.layout()).calibration.algorithms[0].settings == {"least": 7}


@pytest.mark.parametrize(
    ("conf", "found"),
    [
        ({}, ("slurm", "farm")),
        ({"backend": "local"}, ("local", None)),
        ({"backend": "local", "connection": None}, ("local", None)),
        ({"connection": ""}, ("local", None)),
        ({"backend": "slurm"}, ("slurm", "farm")),
    ],
)
def test_a_run_can_leave_the_connection_of_its_caf(
    lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch, conf: dict[str, Any], found: tuple[str, str | None]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FARM", json.dumps({"conn_type": "caf_batch", "extra": {"system": "slurm"}}))
    dag = build_dag(CAF("lab", [lab.calibration()], connection="farm"))
    context = build_context(context, dag, conf)
    run_task(dag, "configure", context)
    run_task(dag, "vertex.prepare", context)
    manifest = CollectionManifest.read(lab.layout().iteration(0).collection("default"))
    assert (manifest.backend, manifest.connection) == found


@pytest.mark.parametrize(
    ("work_dir", "what"),
    [
        ("/", "no name and no place beside it"),
        ("//", "no name and no place beside it"),
        ("/data/..", r"'\.\.' in it"),
        ("data/caf/", "not an absolute path"),
        ("/data/a\nb", "not to be seen"),
        ("/data/a\u200bb", "not to be seen"),
    ],
)
def test_a_work_folder_that_cannot_be_is_refused_before_anything_is_written(
    lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch, work_dir: str, what: str
) -> None:
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", work_dir)
    dag = build_dag(CAF("lab", [lab.calibration()]))
    with pytest.raises(DefinitionError, match=what) as caught:
        find_work_dir()
    assert "[caf] work_dir" in str(caught.value.hint)
    with pytest.raises(AirflowFailException, match=what):
        run_task(dag, "configure", build_context(context, dag, {}))


def test_a_work_folder_that_cannot_be_used_is_told_by_the_first_task(
    lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    dag = build_dag(CAF("lab", [lab.calibration()]))
    for work_dir, what in ((file, "is no folder"), (file / "caf", "could not be made: Not a directory")):
        monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", str(work_dir))
        with pytest.raises(AirflowFailException, match=what):
            run_task(dag, "configure", build_context(context, dag, {}))


def test_a_slash_at_the_end_and_a_folder_that_is_not_there_are_no_mistakes(
    lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", f"{tmp_path}/not/there/")
    dag = build_dag(CAF("lab", [lab.calibration()]))
    run_task(dag, "configure", build_context(context, dag, {}))
    assert (tmp_path / "not" / "there_catalog.sqlite").exists()


def test_a_tilde_in_the_work_folder_is_not_guessed() -> None:
    with pytest.raises(DefinitionError, match="begins with '~'"):
        check_work_dir(Path("~/caf"))
