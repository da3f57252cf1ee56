"""The local system: command lines out, answers in, and nothing run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.spec import Command, CommandResult, Resources, SubmittedArray
from airflow_provider_caf.batch.systems import SYSTEMS, load_system
from airflow_provider_caf.batch.systems.base import Query
from airflow_provider_caf.batch.systems.local import LocalSystem, build_tool
from airflow_provider_caf.core.errors import DefinitionError, PollError, SubmitError
from tests.unit.batch.arrays import make_array

SYSTEM = LocalSystem(tool=("tool",))


def submitted(name: str = "caf_a", elements: int = 3) -> SubmittedArray:
    return SubmittedArray(array=make_array(name, elements), ids=(f"id-{name}",), submitted="2026-01-01T00:00:00.000Z")


def answer(stdout: object, exit_code: int = 0, stderr: str = "") -> CommandResult:
    text = stdout if isinstance(stdout, str) else "".join(json.dumps(line) + "\n" for line in stdout)  # type: ignore[attr-defined]
    return CommandResult(argv=("tool",), exit_code=exit_code, stdout=text, stderr=stderr)


def test_the_submit_command() -> None:
    array = make_array(resources=Resources(shell="/bin/bash", setup=("x",)))
    submission = SYSTEM.build_submit(array)
    assert submission.command.argv == ("/bin/bash", "/w/caf_a/run.sh")
    (file,) = submission.files
    assert (file.path, file.executable) == ("/w/caf_a/run.sh", True)
    assert file.text.endswith("\nx\ncd /w/caf_a || exit 125\nexec python3 /w/app.pyz pool submit /w/caf_a/array.json\n")
    assert SYSTEM.build_submit(make_array()).command.argv[0] == "/bin/bash"


def test_a_container_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"local system cannot run the container 'x.sif' of array caf_a"):
        SYSTEM.build_submit(make_array(resources=Resources(container="x.sif")))


def test_the_id_is_found_behind_what_setup_prints() -> None:
    said = 'Welcome to the site!\n{"id": "no"}\n\n{"id": "vm.1.2"}\n'
    assert SYSTEM.parse_submit(make_array(), answer(said)) == ("vm.1.2",)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (answer("", 127, "python3: not found"), "exit code 127.*: python3: not found"),
        (answer("Welcome\n"), "exit code 0.*: Welcome"),
        (answer(""), "exit code 0.*: it printed nothing"),
        (answer("[1]"), r"exit code 0.*: \[1\]"),
        (answer('{"id": 3}'), "exit code 0"),
        (answer('{"id": "x"}', 1), "exit code 1"),
    ],
)
def test_a_pool_that_was_not_started(result: CommandResult, said: str) -> None:
    with pytest.raises(SubmitError, match=rf"The local pool of array caf_a was not started \({said}"):
        SYSTEM.parse_submit(make_array(), result)


def test_the_lookup() -> None:
    command = SYSTEM.build_lookup(make_array())
    assert command.argv == ("tool", "pool", "lookup")
    assert json.loads(command.stdin or "") == [{"folder": "/w/caf_a", "name": "caf_a"}]
    assert SYSTEM.parse_lookup(make_array(), answer([{"id": "vm.1.2"}])) == (("vm.1.2",),)
    assert SYSTEM.parse_lookup(make_array(), answer([{}])) == ()


@pytest.mark.parametrize(
    "result",
    [
        answer("", 1, "no"),
        answer(""),
        answer("{"),
        answer([{}, {}]),
        answer([3]),
        answer([{"error": "the lock is held"}]),
    ],
)
def test_not_knowing_is_not_there_is_none(result: CommandResult) -> None:
    with pytest.raises(SubmitError, match="It is not known whether array caf_a was submitted"):
        SYSTEM.parse_lookup(make_array(), result)


def test_one_query_for_all() -> None:
    arrays = (submitted("caf_a"), submitted("caf_b", 2))
    (query,) = SYSTEM.build_query(arrays)
    assert query.arrays == arrays
    assert query.command.argv == ("tool", "pool", "query")
    assert json.loads(query.command.stdin or "") == [
        {"folder": "/w/caf_a", "id": "id-caf_a"},
        {"folder": "/w/caf_b", "id": "id-caf_b"},
    ]
    assert SYSTEM.build_history(arrays) == ()


def ask(*arrays: SubmittedArray) -> Query:
    return Query(command=Command(argv=("tool",)), arrays=arrays)


def test_one_letter_for_each_element() -> None:
    query = ask(submitted("caf_a", 6), submitted("caf_b", 1))
    said = SYSTEM.parse_query(query, answer([{"states": "QRECL?", "host": "vm"}, {"states": "R", "host": None}]))
    assert said.problems == {}
    assert said.elements["caf_a"] == {
        0: Native(code="Q", host="vm"),
        1: Native(code="R", host="vm"),
        2: Native(code="E", host="vm"),
        3: Native(code="C", host="vm"),
        # 4 is gone with its pool: missing.
        5: Native(code="?", host="vm"),
    }
    assert said.elements["caf_b"] == {0: Native(code="R")}
    assert [SYSTEM.states.get(letter) for letter in "QREC?"] == [
        JobState.QUEUED,
        JobState.RUNNING,
        JobState.EXITED,
        JobState.CANCELLED,
        None,
    ]


def test_what_cannot_be_said_of_one_array_does_not_spoil_the_others() -> None:
    query = ask(submitted("caf_a"), submitted("caf_b"), submitted("caf_c"), submitted("caf_d"))
    said = SYSTEM.parse_query(
        query, answer([{"error": "it is on host far"}, {"gone": True}, {"states": "RR"}, {"states": "EEE"}])
    )
    assert said.problems == {
        "caf_a": "it is on host far",
        "caf_c": "the answer is 'RR', not one letter for each of 3 elements",
    }
    assert said.elements["caf_b"] == {}
    assert set(said.elements) == {"caf_b", "caf_d"}


@pytest.mark.parametrize("result", [answer("", 1, "killed"), answer("{"), answer([]), answer([{}, {}])])
def test_an_answer_that_is_none(result: CommandResult) -> None:
    with pytest.raises(PollError, match="The local pools could not be asked"):
        SYSTEM.parse_query(ask(submitted()), result)


def test_there_is_no_history() -> None:
    with pytest.raises(PollError, match="has no history"):
        SYSTEM.parse_history(ask(submitted()), answer([]))


@pytest.mark.parametrize("elements", [None, [0, 2]])
def test_cancel(elements: list[int] | None) -> None:
    (command,) = SYSTEM.build_cancel(submitted(), elements)
    assert command.argv == ("tool", "pool", "cancel")
    assert json.loads(command.stdin or "") == [{"folder": "/w/caf_a", "id": "id-caf_a", "elements": elements}]
    SYSTEM.parse_action(submitted(), answer([{"id": "id-caf_a", "alive": True}]), "cancelled")
    SYSTEM.parse_action(submitted(), answer([{"gone": True}]), "cancelled")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (answer([{"error": "it cannot be signalled"}]), "it cannot be signalled"),
        (answer("", 1, "killed"), "killed"),
        (answer(""), "it printed nothing"),
    ],
)
def test_a_cancel_that_failed(result: CommandResult, said: str) -> None:
    with pytest.raises(PollError, match=rf"Array caf_a could not be cancelled .*{said}\n.*processes of pool id-caf_a"):
        SYSTEM.parse_action(submitted(), result, "cancelled")


def test_the_tool_needs_nothing_but_this_package() -> None:
    tool = build_tool()
    assert tool[:3] == (sys.executable, "-I", "-S")
    assert (Path(tool[-1]) / "airflow_provider_caf" / "worker" / "job" / "pool.py").exists()
    command = LocalSystem().build_lookup(make_array())
    assert command.argv == (*tool, "pool", "lookup")


def test_systems_are_found_by_name() -> None:
    assert isinstance(load_system("local"), LocalSystem)
    assert [load_system(name).name for name in SYSTEMS] == list(SYSTEMS)


@pytest.mark.parametrize("name", ["Local", "LSF", "PBS", "HTCondor"])
def test_the_names_of_the_caf_are_known(name: str) -> None:
    assert load_system(name).name == name.lower()


def test_an_unknown_system_is_refused_with_a_guess() -> None:
    with pytest.raises(DefinitionError) as caught:
        load_system("Lokal")
    assert "There is no batch system 'Lokal'." in str(caught.value)
    assert "Did you mean 'local'?" in str(caught.value)
