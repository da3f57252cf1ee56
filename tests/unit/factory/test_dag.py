"""The DAG that is built of a definition: its tasks and its edges."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator
from airflow.serialization.serialized_objects import DagSerialization
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_caf import (
    CAF,
    Algorithm,
    Calibration,
    CalibrationBase,
    Collection,
    ImportedPayloads,
    SignOff,
    build_dag,
    build_dags,
)
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.task_ids import TaskName, parse_task_id
from airflow_provider_caf.operators.configure import ConfigureOperator
from airflow_provider_caf.operators.decide import DecideOperator
from airflow_provider_caf.operators.finish import FinishOperator
from airflow_provider_caf.operators.merge import CollectorMergeOperator
from airflow_provider_caf.operators.prepare import PrepareOperator
from airflow_provider_caf.operators.strategy import StrategyOperator
from airflow_provider_caf.operators.submit import CollectorSubmitOperator
from airflow_provider_caf.sensors.collector import CollectorJobSensor

TOP = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def demo() -> DAG:
    """The DAG of the demonstration."""
    return build_dags(TOP / "dags" / "definitions")["demo_calibration"]


def make_calibration(name: str, **changes: Any) -> Calibration:
    words = {"collector": "hits:HitCollector", "algorithms": "hits:MeanAlgorithm", "input_files": "/data/*.root"}
    return Calibration(name, **{**words, **changes})


def build(*calibrations: CalibrationBase, **changes: Any) -> DAG:
    return build_dag(CAF("demo", calibrations, max_iterations=1), **changes)


def list_after(dag: DAG, task_id: str) -> set[str]:
    return set(dag.get_task(task_id).downstream_task_ids)


def list_before(dag: DAG, task_id: str) -> set[str]:
    return set(dag.get_task(task_id).upstream_task_ids)


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True).filter(lambda name: name != "decide")


@settings(max_examples=15, deadline=None)
@given(
    st.lists(NAMES.map(lambda name: f"c{name}"), min_size=1, max_size=3, unique=True),
    st.lists(NAMES, min_size=2, max_size=4, unique=True),
    st.integers(min_value=0, max_value=12),
)
def test_every_task_is_called_as_the_table_of_task_ids_says(
    names: list[str], inside: list[str], repetitions: int
) -> None:
    collections = {name: Collection(collector="hits:HitCollector", input_files=["/d/*.root"]) for name in inside[1:]}
    algorithms = [Algorithm("hits:Mean", name=inside[0])]
    members = [
        Calibration(name, algorithms=algorithms, collections=collections, max_iterations=repetitions) for name in names
    ]
    dag = build(*members, ImportedPayloads("imported", folder="/db"))
    built = {
        TaskName(step=step, calibration=name, iteration=iteration, owner=owner).task_id
        for name in names
        for iteration in range(repetitions + 1)
        for owner, step in [(inside[0], "algorithm"), (None, "decide")]
        + [(collection, step) for collection in collections for step in ("submit", "wait", "merge")]
    }
    built |= {TaskName(step=step, calibration=name).task_id for name in names for step in ("prepare", "finish")}
    built |= {TaskName(step="run", calibration="imported").task_id}
    assert {task_id for task_id in dag.task_ids if parse_task_id(task_id).calibration is not None} == built
    for task in dag.tasks:
        name = parse_task_id(task.task_id)
        assert name.task_id == task.task_id
        assert name.group_id == (None if task.task_group is None else task.task_group.group_id)
        assert (name.calibration, name.iteration, name.owner) == (
            getattr(task, "calibration", None),
            getattr(task, "iteration", None),
            getattr(task, "collection", getattr(task, "algorithm", None)),
        )


def test_the_tasks_of_a_calibration() -> None:
    dag = build(make_calibration("vertex"))
    steps = ["default.submit", "default.wait", "default.merge", "MeanAlgorithm", "decide"]
    passes = [f"vertex.iteration_{number}.{step}" for number in (0, 1) for step in steps]
    assert set(dag.task_ids) == {"configure", "vertex.prepare", "vertex.finish", *passes, "join", "report"}


def test_the_kinds_of_the_tasks() -> None:
    dag = build(make_calibration("vertex"))
    kinds = {
        "vertex.prepare": PrepareOperator,
        "vertex.iteration_1.default.submit": CollectorSubmitOperator,
        "vertex.iteration_1.default.wait": CollectorJobSensor,
        "vertex.iteration_1.default.merge": CollectorMergeOperator,
        "vertex.iteration_1.MeanAlgorithm": StrategyOperator,
        "vertex.iteration_1.decide": DecideOperator,
        "vertex.finish": FinishOperator,
    }
    for task_id, kind in kinds.items():
        assert type(dag.get_task(task_id)) is kind


def test_the_edges_of_a_calibration() -> None:
    dag = build(make_calibration("vertex"))
    edges = {task: sorted(list_after(dag, task)) for task in dag.task_ids if "." in task}
    first, second = "vertex.iteration_0", "vertex.iteration_1"
    assert edges == {
        "vertex.prepare": [f"{first}.default.submit"],
        f"{first}.default.submit": [f"{first}.default.wait"],
        f"{first}.default.wait": [f"{first}.default.merge"],
        f"{first}.default.merge": [f"{first}.MeanAlgorithm"],
        f"{first}.MeanAlgorithm": [f"{first}.decide"],
        f"{first}.decide": ["vertex.finish", f"{second}.default.submit"],
        f"{second}.default.submit": [f"{second}.default.wait"],
        f"{second}.default.wait": [f"{second}.default.merge"],
        f"{second}.default.merge": [f"{second}.MeanAlgorithm"],
        f"{second}.MeanAlgorithm": [f"{second}.decide"],
        f"{second}.decide": ["vertex.finish"],
        "vertex.finish": ["join", "report"],
    }
    assert list_after(dag, "configure") == {"vertex.prepare"}


@pytest.mark.parametrize("repetitions", [0, 1, 7])
def test_there_is_one_pass_more_than_repetitions(repetitions: int) -> None:
    dag = build(make_calibration("vertex", max_iterations=repetitions))
    decides = {task for task in dag.task_ids if task.endswith(".decide")}
    assert decides == {f"vertex.iteration_{number}.decide" for number in range(repetitions + 1)}
    assert list_before(dag, "vertex.finish") == decides


def test_finish_runs_when_some_passes_were_skipped_and_none_failed() -> None:
    dag = build(make_calibration("vertex"))
    rules = {task.task_id: task.trigger_rule for task in dag.tasks if task.trigger_rule != "all_success"}
    assert rules == {
        "vertex.finish": "none_failed_min_one_success",
        "join": "none_failed_min_one_success",
        "report": "all_done",
        # A calibration that a run leaves out does not hold up those behind it.
        "vertex.prepare": "none_failed",
    }


def test_algorithms_run_one_after_the_other() -> None:
    dag = build(make_calibration("vertex", algorithms=["hits:Second", "hits:First", "hits:Third"], max_iterations=0))
    group = "vertex.iteration_0"
    assert list_after(dag, f"{group}.default.merge") == {f"{group}.Second"}
    assert list_after(dag, f"{group}.Second") == {f"{group}.First"}
    assert list_after(dag, f"{group}.First") == {f"{group}.Third"}
    assert list_after(dag, f"{group}.Third") == {f"{group}.decide"}


def test_collections_run_side_by_side() -> None:
    collections = {name: Collection("hits:HitCollector", "/data/*.root") for name in ("muons", "electrons")}
    dag = build(Calibration("gain", algorithms="hits:MeanAlgorithm", collections=collections, max_iterations=0))
    group = "gain.iteration_0"
    assert list_after(dag, "gain.prepare") == {f"{group}.muons.submit", f"{group}.electrons.submit"}
    assert list_before(dag, f"{group}.MeanAlgorithm") == {f"{group}.muons.merge", f"{group}.electrons.merge"}
    assert list_before(dag, f"{group}.muons.wait") == {f"{group}.muons.submit"}


def test_a_dependency_is_an_edge_between_calibrations() -> None:
    first, second = make_calibration("first"), make_calibration("second")
    third = make_calibration("third", depends_on=[first, "second"])
    dag = build(first, second, third)
    assert list_before(dag, "third.prepare") == {"first.finish", "second.finish"}
    assert list_after(dag, "first.finish") == {"third.prepare", "join", "report"}


def test_a_dependency_may_be_defined_after_what_needs_it() -> None:
    dag = build(make_calibration("second", depends_on=["first"]), make_calibration("first"))
    assert list_before(dag, "second.prepare") == {"first.finish"}


def test_independent_calibrations_have_no_edge() -> None:
    dag = build(make_calibration("first"), make_calibration("second"))
    for task in dag.tasks:
        name = task.task_id.partition(".")[0]
        if name != "configure":
            assert {other.partition(".")[0] for other in task.downstream_task_ids} <= {name, "join", "report"}


def test_the_definition_stands_once_in_the_dag() -> None:
    caf = CAF("demo", [make_calibration("vertex", backend_args={"queue": "long"})], backend="{{ params.backend }}")
    dag = build_dag(caf)
    holders = [task for task in dag.tasks if "definition" in task.template_fields]
    assert [task.task_id for task in holders] == ["configure"]
    assert getattr(holders[0], "definition", None) == caf.to_json()


def test_a_step_that_collects_nothing_is_one_task() -> None:
    calibration = make_calibration("vertex", depends_on=["earlier"])
    dag = build(ImportedPayloads("earlier", "/by/hand"), calibration)
    assert {task for task in dag.task_ids if task.startswith("earlier.")} == {"earlier.run"}
    assert list_after(dag, "earlier.run") == {"vertex.prepare", "join", "report"}
    assert list_before(dag, "earlier.run") == {"configure"}


def test_algorithms_without_a_collector_follow_on_prepare() -> None:
    merging = Calibration("merging", algorithms="hits:Merge", depends_on=["vertex"], max_iterations=0)
    dag = build(make_calibration("vertex"), merging)
    assert list_after(dag, "merging.prepare") == {"merging.iteration_0.Merge"}


@pytest.mark.parametrize(
    ("words", "tasks"),
    [
        ({}, ["join"]),
        ({"sign_off": SignOff(message="Look.")}, ["join", "sign_off", "publish"]),
        ({"publish": {"folder": "/accepted"}}, ["join", "publish"]),
    ],
)
def test_the_last_task_says_that_the_result_is_ready(words: dict[str, Any], tasks: list[str]) -> None:
    dag = build_dag(CAF("demo", [make_calibration("vertex")], **words))
    assert [task for task in ("join", "sign_off", "publish") if task in dag.task_ids] == tasks
    ready = {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets}
    assert ready == {"vertex.finish": ["caf.demo.vertex"], tasks[-1]: ["caf.demo"]}


def test_a_definition_can_wait_for_others() -> None:
    dag = build_dag(CAF("demo", [make_calibration("vertex")], dag={"after": ["other", "beam.spot"]}))
    schedule: Any = dag.schedule
    assert [asset.uri for asset in schedule] == ["caf://other/", "caf://beam/spot"]


def test_what_a_definition_says_of_its_dag_reaches_airflow() -> None:
    said = {
        "schedule": "@daily",
        "tags": ["mine"],
        "owner": "anna",
        "retries": 5,
        "retry_delay": "5m",
        "max_active_runs": 2,
        "max_active_tasks": 9,
    }
    dag: Any = build_dag(CAF("demo", [make_calibration("vertex")], description="text", dag=said))
    assert (dag.schedule, dag.description, set(dag.tags)) == ("@daily", "text", {"caf", "mine"})
    assert (dag.max_active_runs, dag.max_active_tasks) == (2, 9)
    assert {(task.owner, task.retries, task.retry_delay) for task in dag.tasks} == {("anna", 5, timedelta(minutes=5))}


def test_params_of_a_definition_stand_beside_those_that_every_run_has() -> None:
    params = {"folder": {"type": "string", "default": "/data", "title": "Folder"}}
    calibration = make_calibration(
        "vertex", input_files="{{ params.folder }}/*.root", max_collector_jobs="{{ params.expert_config.least }}"
    )
    dag = build_dag(CAF("demo", [calibration], params=params, expert_config={"least": 3}))
    assert dag.params["folder"] == "/data"
    assert {"input_data", "requested_iov", "expert_config", "calibrations"} <= set(dag.params)
    schema = dag.params.get_param("expert_config").schema
    assert schema["properties"] == {"least": {"type": "number", "default": 3}}
    assert schema["additionalProperties"] is False
    calibration = make_calibration("vertex", backend_args={"queue": "{{ params.backend }}"})
    with pytest.raises(DefinitionError, match="has the name of one that every run has"):
        build_dag(CAF("demo", [calibration], params={"backend": {"default": "x"}}))


@pytest.mark.parametrize(
    ("where", "arguments", "message"),
    [
        ("caf", {"backend": "slurn"}, "There is no batch system 'slurn'"),
        ("caf", {"backend_args": {"memroy": 5}}, "backend_args of CAF 'demo': There is no argument 'memroy'"),
        ("calibration", {"backend": "HTCondr"}, "There is no batch system 'HTCondr'"),
        ("calibration", {"backend_args": {"queu": "a"}}, "calibration 'vertex': There is no argument 'queu'"),
    ],
)
def test_a_batch_system_or_argument_that_is_not_there_is_an_error_of_the_dag_file(
    where: str, arguments: dict[str, Any], message: str
) -> None:
    own = arguments if where == "calibration" else {}
    with pytest.raises(DefinitionError, match=message):
        build_dag(CAF("demo", [make_calibration("vertex", **own)], **(arguments if where == "caf" else {})))


def test_arguments_of_the_dag_go_over_ours() -> None:
    dag = build(
        make_calibration("vertex"),
        dag_id="mine",
        schedule="@daily",
        tags=["mine"],
        description="text",
        default_args={"retries": 7},
    )
    assert dag.dag_id == "mine"
    assert dag.description == "text"
    assert set(dag.tags) == {"mine"}
    retries = {(task.retries, task.retry_delay) for task in dag.tasks}
    assert retries == {(7, timedelta(seconds=10))}


def test_without_arguments_it_is_a_dag_that_waits_to_be_triggered() -> None:
    dag = build(make_calibration("vertex"))
    assert dag.dag_id == "demo"
    assert dag.schedule is None
    assert not dag.catchup
    assert set(dag.tags) == {"caf"}
    assert {task.retries for task in dag.tasks} == {2}


def test_a_mistake_in_the_definition_is_an_error_of_the_dag_file() -> None:
    with pytest.raises(DefinitionError, match="depends on 'frist', which does not exist") as caught:
        build(make_calibration("first"), make_calibration("second", depends_on=["frist"]))
    assert "'first'" in str(caught.value.hint)


def test_serialising_twice_gives_the_same_text() -> None:
    def serialise() -> str:
        first = make_calibration("first", database_chain=[{"local": "/db"}])
        dag = build(first, make_calibration("second", depends_on=[first]), tags=["b", "a", "c"])
        return json.dumps(DagSerialization.to_dict(dag))

    assert serialise() == serialise()


def test_the_demonstration_has_the_tasks_that_it_shows(demo: DAG) -> None:
    assert demo.dag_id == "demo_calibration"
    groups = {task.rpartition(".")[0] for task in demo.task_ids}
    assert {group for group in groups if group.count(".") == 1} == {
        *(f"alignment.iteration_{number}" for number in range(5)),
        *(f"{name}.iteration_0" for name in ("beam_spot", "time_offset", "gain")),
    }
    assert {f"gain.iteration_0.{name}.submit" for name in ("muons", "electrons")} <= set(demo.task_ids)


def test_the_calibrations_of_the_demonstration_wait_for_one_another(demo: DAG) -> None:
    waits = {task: sorted(list_before(demo, task)) for task in demo.task_ids if task.endswith(".prepare")}
    assert waits == {
        "beam_spot.prepare": ["configure"],
        "alignment.prepare": ["beam_spot.finish"],
        "time_offset.prepare": ["configure"],
        "gain.prepare": ["alignment.finish", "time_offset.finish"],
    }


def test_everything_that_may_be_templated_is_an_attribute(demo: DAG) -> None:
    """Airflow reads the fields by their names, and refuses a constructor that does more than assign them."""
    for task in demo.tasks:
        assert isinstance(task, (BaseOperator, BaseSensorOperator))
        assert [field for field in task.template_fields if not hasattr(task, field)] == []
        assert "calibration" in task.template_fields or "." not in task.task_id


def test_templates_in_the_definition_are_filled_in() -> None:
    configure = build(
        make_calibration(
            "vertex",
            input_files=["{{ params.folder }}/a.root", "/data/b.root"],
            max_collector_jobs="{{ params.jobs }}",
            backend_args={"queue": "{{ params.queue }}"},
        )
    ).get_task("configure")
    assert isinstance(configure, ConfigureOperator)
    configure.render_template_fields({"params": {"folder": "/here", "queue": "{{ 1 }}", "jobs": 4}})
    (calibration,) = configure.definition["calibrations"]
    assert calibration["input_files"] == ["/here/a.root", "/data/b.root"]
    # One that stands alone keeps the type of its value, and what it gives is not filled in again.
    assert calibration["max_collector_jobs"] == 4
    assert calibration["backend_args"] == {"queue": "{{ 1 }}"}


def test_what_looks_like_a_file_of_a_template_is_left_alone() -> None:
    """Airflow would read a field that ends with one of `template_ext` as a file."""
    for task in build(make_calibration("vertex")).tasks:
        assert tuple(task.template_ext) == ()
