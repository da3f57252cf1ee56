"""A system on a host with other paths: every array reaches it in the host's paths, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_caf.batch.spec import CommandResult, SubmittedArray
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.batch.systems.base import Done, Query, System
from airflow_provider_caf.jobs.remote import RemoteSystem, rebase_array
from tests.unit.batch.arrays import make_array

ARRAY = make_array(elements=((0,), (1, 2)), folder="/w/arrays/0")
THERE = replace(
    ARRAY,
    folder="/r/arrays/0",
    input_folder="/r/in",
    output_folder="/r/out",
    status_folder="/r/out/status",
    app="/r/app.pyz",
)
SUBMITTED = SubmittedArray(array=ARRAY, ids=("1",), submitted="2026-01-01T00:00:00Z")
SUBMITTED_THERE = replace(SUBMITTED, array=THERE)
RESULT = CommandResult(argv=("x",), exit_code=0)
QUERY = Query(command=load_system("local").build_query([SUBMITTED])[0].command, arrays=(SUBMITTED_THERE,))


def find_remote(path: str) -> str:
    return path.replace("/w", "/r", 1)


class Recorder:
    """Stands for a system, and gives back with which words it was called."""

    def __getattr__(self, name: str) -> Any:
        return lambda *words: (name, *words)


def test_all_paths_of_an_array_change() -> None:
    assert rebase_array(ARRAY, find_remote) == THERE


@pytest.mark.parametrize(
    ("method", "words", "expected"),
    [
        ("build_submit", (ARRAY,), (THERE,)),
        ("parse_submit", (ARRAY, RESULT), (THERE, RESULT)),
        ("build_lookup", (ARRAY,), (THERE,)),
        ("parse_lookup", (ARRAY, RESULT), (THERE, RESULT)),
        ("build_query", ([SUBMITTED],), ([SUBMITTED_THERE],)),
        ("parse_query", (QUERY, RESULT), (QUERY, RESULT)),
        ("build_history", ([SUBMITTED],), ([SUBMITTED_THERE],)),
        ("parse_history", (QUERY, RESULT), (QUERY, RESULT)),
        ("build_cancel", (SUBMITTED, (1,)), (SUBMITTED_THERE, (1,))),
        ("build_release", (SUBMITTED, (1,)), (SUBMITTED_THERE, (1,))),
    ],
)
def test_the_system_hears_of_the_hosts_paths(method: str, words: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    system = RemoteSystem(Recorder(), find_remote)
    assert getattr(system, method)(*words) == (method, *expected)


@pytest.mark.parametrize("done", ["cancelled", "released"])
def test_answers_without_a_result_are_checked_too(done: Done) -> None:
    heard: list[Any] = []

    class Listener:
        def __getattr__(self, name: str) -> Any:
            return lambda *words: heard.append((name, *words))

    RemoteSystem(Listener(), find_remote).parse_action(SUBMITTED, RESULT, done)
    assert heard == [("parse_action", SUBMITTED_THERE, RESULT, done)]


def test_the_rest_is_as_the_system_says() -> None:
    local = load_system("local")
    system: System = RemoteSystem(local, find_remote)
    assert (system.name, system.largest_array, system.ignored) == (local.name, local.largest_array, local.ignored)
    assert (system.longest_name, system.states, system.grace) == (local.longest_name, local.states, local.grace)


def test_the_real_commands_have_the_hosts_paths() -> None:
    submission = RemoteSystem(load_system("local"), find_remote).build_submit(ARRAY)
    assert [file.path for file in submission.files] == ["/r/arrays/0/run.sh"]
    assert "/w/" not in submission.files[0].text
