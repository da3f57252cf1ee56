"""Torque, and the commands of the same names over Slurm: command lines out, answers in, and nothing run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.naming import build_array_name
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, Resources, SubmittedArray
from airflow_provider_caf.batch.systems.torque import TorqueSystem
from airflow_provider_caf.core.errors import DefinitionError, PollError, SubmitError, SubmitUnknown
from tests.unit.batch import arrays
from tests.unit.batch.arrays import submit

SYSTEM = TorqueSystem()
GOLDEN = Path(__file__).parents[3] / "golden" / "batch" / "torque"
NAME = "caf_0123456789"
ARRAY_ID = "4[].head.example.org"


def make_array(elements: int = 4, **changes: Any) -> ArraySpec:
    return arrays.make_array(elements=elements, **{"name": NAME, "folder": "/w/a b", **changes})


def submitted(id: str = ARRAY_ID, elements: int = 6, name: str = NAME) -> SubmittedArray:
    array = make_array(elements, name=name)
    return submit(array, id)


def answer(
    stdout: str = "", exit_code: int = 0, stderr: str = "", argv: tuple[str, ...] = ("qdel", ARRAY_ID)
) -> CommandResult:
    return CommandResult(argv=argv, exit_code=exit_code, stdout=stdout, stderr=stderr)


def show(*commands: Command) -> str:
    return "".join(f"{shlex.join(command.argv)}\n" for command in commands)


def test_all_commands_are_as_they_were() -> None:
    array, job = submitted(), submitted("5518", 1)
    resources = Resources(
        queue="long", account="muon", walltime=3600, memory=1500, cpus=4, throttle=50, shell="/bin/zsh"
    )
    commands = [
        SYSTEM.build_submit(make_array()).command,
        SYSTEM.build_submit(make_array(1)).command,
        SYSTEM.build_submit(make_array(resources=resources)).command,
        SYSTEM.build_submit(make_array(1, resources=Resources(memory=2))).command,
        SYSTEM.build_lookup(make_array()),
        *(query.command for query in SYSTEM.build_query([array, job])),
        *(query.command for query in SYSTEM.build_query([job])),
        *SYSTEM.build_cancel(array, None),
        *SYSTEM.build_cancel(array, [0, 2]),
        *SYSTEM.build_cancel(job, [0]),
        *SYSTEM.build_release(array, [1, 2]),
        *SYSTEM.build_release(job, [0]),
    ]
    assert show(*commands) == (GOLDEN / "commands.txt").read_text()
    assert SYSTEM.build_history([array]) == ()
    assert SYSTEM.build_release(array, []) == ()


def test_the_script() -> None:
    resources = Resources(extra_lines=("#PBS -W group_list=muon",))
    (file,) = SYSTEM.build_submit(make_array(resources=resources)).files
    assert file.text == (GOLDEN / "run.sh").read_text()


@pytest.mark.parametrize("shell", ["/bin/sh@host", "/bin/a,b"])
def test_a_shell_that_means_something_else_to_qsub_is_refused(shell: str) -> None:
    with pytest.raises(DefinitionError, match="cannot be said to qsub"):
        SYSTEM.build_submit(make_array(resources=Resources(shell=shell)))


def test_a_name_fits() -> None:
    name = build_array_name(labels=("calibration", "collection"), attempt=0, length=SYSTEM.longest_name)
    assert len(name) <= 15


def test_the_id() -> None:
    assert SYSTEM.parse_submit(make_array(), answer(f"{ARRAY_ID}\n")) == (ARRAY_ID,)
    assert SYSTEM.parse_submit(make_array(1), answer("5518\n", stderr="option -S is ignored")) == ("5518",)


def test_a_qsub_without_arrays_is_told() -> None:
    with pytest.raises(SubmitError, match="the id 5520 of a single job") as caught:
        SYSTEM.parse_submit(make_array(), answer("5520\n"))
    assert "'array_limit': 1" in str(caught.value)


def test_a_submit_that_was_not_taken() -> None:
    said = "There was an error running the Slurm sbatch command.\nThe command was:\n'/usr/bin/sbatch -p nosuch'\n"
    with pytest.raises(SubmitError, match="qsub did not take array"):
        SYSTEM.parse_submit(make_array(), answer(said, 1))


def parse(result: CommandResult, *arrays: SubmittedArray) -> dict[str, dict[int, Native]]:
    (query,) = SYSTEM.build_query(arrays)
    return {name: dict(natives) for name, natives in SYSTEM.parse_query(query, result).elements.items()}


def test_an_array() -> None:
    found = parse(answer((GOLDEN / "qstat_array.txt").read_text()), submitted())[NAME]
    assert found == {
        0: Native(code="C", exit_code=0, host="node01"),
        1: Native(code="C", exit_code=137, reason="ended by SIGKILL", host="node01"),
        2: Native(code="C271", reason="removed"),
        3: Native(code="C", exit_code=-11, reason="walltime: it ran longer than it had asked for", host="node02"),
        4: Native(code="H", reason="hold of type u"),
        5: Native(code="R", host="node02"),
    }
    assert [SYSTEM.states[native.code] for native in found.values()] == [
        JobState.EXITED,
        JobState.EXITED,
        JobState.CANCELLED,
        JobState.EXITED,
        JobState.HELD,
        JobState.RUNNING,
    ]


def test_an_element_that_is_kept_no_longer_is_missing() -> None:
    text = (GOLDEN / "qstat_array.txt").read_text()
    rest = text[text.index("Job Id: 4[3]") :]
    assert set(parse(answer(rest), submitted())[NAME]) == {3, 4, 5}


def test_single_jobs_over_slurm() -> None:
    text = (GOLDEN / "qstat_over_slurm.txt").read_text()
    found = parse(answer(text), submitted("5518", 1), submitted("55", 1, "b"), submitted("5521", 1, "c"))
    assert found == {NAME: {0: Native(code="C", host="vm")}, "b": {}, "c": {0: Native(code="Q")}}


@pytest.mark.parametrize("stderr", ["", "qstat: Unknown Job Id Error 4[].head.example.org\n"])
def test_what_is_not_kept_any_more_has_no_elements(stderr: str) -> None:
    assert parse(answer("", 153, stderr), submitted()) == {NAME: {}}


def test_the_lookup() -> None:
    text = (GOLDEN / "qstat_array.txt").read_text()
    whole = text + text.replace("Job Id: 4[", "Job Id: 5[").replace(f"{NAME}-", f"{NAME}x-")
    assert SYSTEM.parse_lookup(make_array(), answer(whole)) == ((ARRAY_ID,),)
    assert SYSTEM.parse_lookup(make_array(), answer(whole.replace(f"{NAME}x-", f"{NAME}-"))) == (
        (ARRAY_ID,),
        ("5[].head.example.org",),
    )
    for result in (answer(whole), answer("", 153), answer("")):
        with pytest.raises(SubmitUnknown, match="Torque keeps no history") as caught:
            SYSTEM.parse_lookup(make_array(name="other"), result)
        # So long the queue shows what is over, as `keep_completed` is asked of sites.
        assert caught.value.remembers == 300
    over_slurm = (GOLDEN / "qstat_over_slurm.txt").read_text()
    assert SYSTEM.parse_lookup(make_array(), answer(over_slurm)) == (("5518",),)


@pytest.mark.parametrize(
    "result",
    [
        answer("", 255, "qstat: cannot connect to server head (errno=15010)\n"),
        answer("Problem loading jobs.\n"),
        answer("Job Id: 4[].head\n    Job_Name = caf_0"),
        answer("", 0, "qstat: End of File\n"),
    ],
)
def test_a_lookup_that_says_nothing(result: CommandResult) -> None:
    with pytest.raises(SubmitError, match="It is not known whether array caf_0123456789 was submitted"):
        SYSTEM.parse_lookup(make_array(), result)


@pytest.mark.parametrize(
    ("exit_code", "stderr"),
    [
        (0, ""),
        # Over Slurm: so many of the jobs were over.
        (2, ""),
        (153, "qdel: Unknown Job Id 4[].head.example.org\n"),
        (170, "qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE 4[1].head.example.org\n"),
    ],
)
def test_what_is_over_can_be_cancelled(exit_code: int, stderr: str) -> None:
    SYSTEM.parse_action(submitted(), answer("", exit_code, stderr, argv=("qdel", "4[1]", "4[2]")), "cancelled")


@pytest.mark.parametrize(
    "result",
    [
        answer("", 171, "Connection refused\nqdel: cannot connect to server head (errno=111)\n"),
        # The connection broke: Torque ends with an error's number, 15031 modulo 256, and says nothing.
        answer("", 183, ""),
        answer("", 2, ""),
        answer("", -9, ""),
        answer("qdel: Kill job error on job id 5518: Unable to contact slurm controller\n", 1),
    ],
)
def test_what_the_server_did_not_take(result: CommandResult) -> None:
    with pytest.raises(PollError, match="could not be cancelled"):
        SYSTEM.parse_action(submitted(), result, "cancelled")
