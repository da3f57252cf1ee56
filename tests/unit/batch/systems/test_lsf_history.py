"""LSF's history: what is asked, and what `bhist -l` says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.evidence import Native
from airflow_provider_caf.batch.spec import Command, CommandResult, SubmittedArray
from airflow_provider_caf.batch.systems.base import Answer, Query
from airflow_provider_caf.batch.systems.lsf import LSFSystem
from airflow_provider_caf.batch.systems.lsf_history import read_history
from airflow_provider_caf.core.errors import PollError
from tests.unit.batch.arrays import make_array, submit

GOLDEN = Path(__file__).parents[3] / "golden" / "batch" / "lsf"
SYSTEM = LSFSystem()


def submitted(id: str = "77", name: str = "caf_a", elements: int = 3) -> SubmittedArray:
    return submit(make_array(name, elements), id)


def answer(stdout: str, exit_code: int = 0, stderr: str = "") -> CommandResult:
    return CommandResult(argv=("bhist", "77"), exit_code=exit_code, stdout=stdout, stderr=stderr)


def ask(*arrays: SubmittedArray) -> Query:
    return Query(command=Command(argv=("bhist",)), arrays=arrays)


def golden(name: str) -> str:
    return (GOLDEN / name).read_text()


def test_the_history() -> None:
    (query,) = SYSTEM.build_history([submitted("77"), submitted("78", "caf_b")])
    assert query.command.argv == ("bhist", "-l", "-n", "0", "77", "78")
    query = ask(submitted("77", elements=6), submitted("78", "caf_b"))
    said = SYSTEM.parse_history(query, answer(golden("bhist_ibm.txt")))
    assert said.problems == {}
    assert said.elements == {
        "caf_a": {
            0: Native(
                code="EXIT",
                exit_code=1,
                host="node7",
                reason="TERM_MEMLIMIT: job killed after reaching LSF memory usage limit",
                out_of_memory=True,
            ),
            # It was requeued: its first end does not count.
            1: Native(code="DONE", exit_code=0, host="node9"),
            2: Native(code="TERM_OWNER", reason="TERM_OWNER: job killed by owner"),
            3: Native(
                code="EXIT", exit_code=140, host="node8", reason="SIGUSR2, which LSF sends at the end of the walltime"
            ),
            # 4 has not ended, 5 is not there.
        },
        "caf_b": {},
    }


@pytest.mark.parametrize(
    ("file", "id", "index", "native"),
    [
        ("bhist_exit.txt", "5", 2, Native(code="EXIT", exit_code=3, host="vm")),
        ("bhist_lost_code.txt", "2", 0, Native(code="EXIT", host="vm")),
    ],
)
def test_the_history_of_a_compatible_system(file: str, id: str, index: int, native: Native) -> None:
    said = SYSTEM.parse_history(ask(submitted(id)), answer(golden(file)))
    assert said.elements == {"caf_a": {index: native}}


def test_no_history_of_these_jobs() -> None:
    said = SYSTEM.parse_history(ask(submitted()), answer("", 255, "No matching job found"))
    assert said == Answer(elements={"caf_a": {}})


@pytest.mark.parametrize(
    "result",
    [
        answer("", 255, "ls_getclustername(): LIM is down; try later"),
        answer(golden("bhist_ibm.txt")[:1500]),
        answer(""),
        answer("Have a nice day!"),
    ],
)
def test_a_history_that_is_none(result: CommandResult) -> None:
    with pytest.raises(PollError, match="bhist gave no answer"):
        SYSTEM.parse_history(ask(submitted()), result)


@given(
    st.text(
        alphabet=st.sampled_from("Job <5[1]>,:;\n 0123DneExited successfully.Summary of time in seconds"), max_size=300
    )
)
def test_no_text_breaks_the_reader_of_the_history(text: str) -> None:
    found = read_history(text)
    assert found is None or all(each.id for each in found)
