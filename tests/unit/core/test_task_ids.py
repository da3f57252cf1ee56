"""The ids of tasks: what a task is, and how it is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.names import check_name
from airflow_provider_caf.core.task_ids import (
    ALGORITHM,
    DECIDE,
    FINISH,
    PREPARE,
    RUN,
    TASKS_OF_COLLECTION,
    TASKS_OF_RUN,
    TaskName,
    parse_task_id,
)

NAMES = st.one_of(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True).map(lambda name: check_name("calibration", name)),
    st.sampled_from(["iteration_0", "prepare", "merge", "algorithm", "run", "007"]),
)
ITERATIONS = st.integers(min_value=0, max_value=10_000)
TASKS = st.one_of(
    st.sampled_from(TASKS_OF_RUN).map(lambda step: TaskName(step=step)),
    st.builds(TaskName, step=st.sampled_from([PREPARE, FINISH, RUN]), calibration=NAMES),
    st.builds(TaskName, step=st.just(DECIDE), calibration=NAMES, iteration=ITERATIONS),
    st.builds(TaskName, step=st.just(ALGORITHM), calibration=NAMES, iteration=ITERATIONS, owner=NAMES),
    st.builds(
        TaskName, step=st.sampled_from(TASKS_OF_COLLECTION), calibration=NAMES, iteration=ITERATIONS, owner=NAMES
    ),
)
"""Every task that a DAG of a definition can have."""


@pytest.mark.parametrize(
    ("task_id", "parts"),
    [
        ("configure", (None, None, None, "configure")),
        ("cal.prepare", ("cal", None, None, "prepare")),
        ("cal.iteration_12.hits.wait", ("cal", 12, "hits", "wait")),
        ("cal.iteration_0.fit", ("cal", 0, "fit", "algorithm")),
        ("cal.iteration_0.decide", ("cal", 0, None, "decide")),
        ("iteration_1.iteration_0.iteration_2", ("iteration_1", 0, "iteration_2", "algorithm")),
        ("step.run", ("step", None, None, "run")),
    ],
)
def test_what_a_task_id_says(task_id: str, parts: tuple[object, ...]) -> None:
    name = parse_task_id(task_id)
    assert (name.calibration, name.iteration, name.owner, name.step) == parts
    assert name.task_id == task_id


@given(TASKS)
def test_what_is_built_is_parsed(task: TaskName) -> None:
    assert parse_task_id(task.task_id) == task


@given(st.one_of(st.text(), st.lists(NAMES | st.sampled_from(["iteration_1", "wait", ""]), max_size=6).map(".".join)))
def test_a_task_of_somebody_else_keeps_its_id(task_id: str) -> None:
    assert parse_task_id(task_id).task_id == task_id


@pytest.mark.parametrize(
    ("task_id", "group", "label"),
    [
        ("join", None, "join"),
        ("cal.prepare", "cal", "prepare"),
        ("cal.iteration_3.fit", "cal.iteration_3", "fit"),
        ("cal.iteration_3.decide", "cal.iteration_3", "decide"),
        ("cal.iteration_3.hits.wait", "cal.iteration_3.hits", "hits.wait"),
        ("cal.iteration_03.fit", "cal.iteration_03", "iteration_03.fit"),
        ("cal.iteration_3.hits.more", "cal.iteration_3.hits", "hits.more"),
    ],
)
def test_the_group_of_a_task_and_what_it_is_called_there(task_id: str, group: str | None, label: str) -> None:
    name = parse_task_id(task_id)
    assert (name.group_id, name.label) == (group, label)
