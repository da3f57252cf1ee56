"""OpenPBS and PBS Professional: command lines out, answers in, and nothing run."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, Resources, SubmittedArray
from airflow_provider_caf.batch.systems.pbs import PBSSystem, cut_words, parse_jobs
from airflow_provider_caf.core.errors import DefinitionError, PollError, SubmitError, SubmitRefused, SubmitUnknown
from tests.unit.batch import arrays
from tests.unit.batch.arrays import submit

SYSTEM = PBSSystem()
GOLDEN = Path(__file__).parents[3] / "golden" / "batch" / "pbs"
FOLDER = "/w/it's $(touch broken)"
EVERYTHING = Resources(
    queue="long",
    account="muon group",
    walltime=90061,
    memory=1500,
    cpus=4,
    throttle=50,
    extra_lines=("#PBS -l place=excl", "#PBS -r n"),
    environment={"A": "it's"},
    setup=("#PBS -q not-a-directive", "source /site/setup.sh"),
    shell="/bin/zsh",
)


NO_HISTORY = "PBS is not configured to maintain job history"


def make_array(elements: int = 4, **changes: Any) -> ArraySpec:
    return arrays.make_array(elements=elements, **{"name": "caf_0123456789", "folder": FOLDER, **changes})


def submitted(id: str = "4[].pbshost", elements: int = 4, **changes: Any) -> SubmittedArray:
    array = make_array(elements, **{"name": f"a{id.partition('[')[0].partition('.')[0]}", **changes})
    return submit(array, id)


def answer(stdout: str = "", exit_code: int = 0, stderr: str = "") -> CommandResult:
    return CommandResult(argv=("qdel", "4[].pbshost"), exit_code=exit_code, stdout=stdout, stderr=stderr)


def show(*commands: Command) -> str:
    return "".join(f"{shlex.join(command.argv)}\n" for command in commands)


def parse(result: CommandResult, *arrays: SubmittedArray) -> dict[str, dict[int, Native]]:
    (query,) = SYSTEM.build_query(arrays)
    return {name: dict(natives) for name, natives in SYSTEM.parse_query(query, result).elements.items()}


def test_all_commands_are_as_they_were() -> None:
    four, one = submitted(), submitted("7.pbshost", 1)
    commands = [
        SYSTEM.build_submit(make_array()).command,
        SYSTEM.build_submit(make_array(1)).command,
        SYSTEM.build_submit(make_array(resources=EVERYTHING)).command,
        SYSTEM.build_submit(make_array(resources=Resources(memory=2))).command,
        SYSTEM.build_lookup(make_array()),
        *(query.command for query in SYSTEM.build_query([four, one])),
        *(query.command for query in SYSTEM.build_history([four, one])),
        *SYSTEM.build_cancel(four, None),
        *SYSTEM.build_cancel(four, [0, 2]),
        *SYSTEM.build_cancel(one, [0]),
        *SYSTEM.build_release(four, [1]),
    ]
    assert show(*commands) == (GOLDEN / "commands.txt").read_text()
    assert SYSTEM.build_release(four, []) == ()


@pytest.mark.parametrize(
    ("name", "array"), [("run.sh", make_array(resources=EVERYTHING)), ("run_plain.sh", make_array(1))]
)
def test_the_script(name: str, array: ArraySpec) -> None:
    (file,) = SYSTEM.build_submit(array).files
    assert (file.path, file.executable) == (f"{FOLDER}/run.sh", True)
    assert file.text == (GOLDEN / name).read_text()


@pytest.mark.parametrize("line", ["#PBS", "#PBSx -q a", "accounting_group = x", "#SBATCH -q a", " #PBS -q a", ""])
def test_an_extra_line_that_is_no_directive_is_refused(line: str) -> None:
    with pytest.raises(DefinitionError, match="is not a directive of PBS"):
        SYSTEM.build_submit(make_array(resources=Resources(extra_lines=(line,))))


@pytest.mark.parametrize(
    ("elements", "stdout", "id"),
    [
        (4, "4[].pbshost\n", "4[].pbshost"),
        (1, "2.pbshost\n", "2.pbshost"),
        (4, "Welcome to the site\n  4[].pbs-1.example.org\nYour quota: 3.5\n", "4[].pbs-1.example.org"),
        (4, "3\n4[].pbshost\n4[].pbshost\n", "4[].pbshost"),
    ],
)
def test_the_id(elements: int, stdout: str, id: str) -> None:
    assert SYSTEM.parse_submit(make_array(elements), answer(stdout)) == (id,)


@pytest.mark.parametrize(
    "result",
    [
        answer(stderr="qsub: Unknown queue", exit_code=170),
        answer(stderr="Connection refused\nqsub: cannot connect to server pbshost (errno=15010)", exit_code=162),
        answer("4[].pbshost\n", exit_code=139),
        answer("4.pbshost\n"),
        answer("4[].pbshost\n5[].pbshost\n"),
        answer("4[].pbs host\n"),
        answer(),
    ],
)
def test_a_submit_that_was_not_taken(result: CommandResult) -> None:
    with pytest.raises(SubmitError, match=rf"qsub did not take array caf_0123456789 \(exit code {result.exit_code}\)"):
        SYSTEM.parse_submit(make_array(), result)


@pytest.mark.parametrize(
    ("stdout", "ids"),
    [
        ("", ()),
        ("4[].pbshost\n", (("4[].pbshost",),)),
        ("4[].pbshost\n9.pbshost\n", (("4[].pbshost",), ("9.pbshost",))),
        ("4[].pbshost\n4[].pbshost\n", (("4[].pbshost",),)),
    ],
)
def test_the_lookup(stdout: str, ids: tuple[tuple[str, ...], ...]) -> None:
    assert SYSTEM.parse_lookup(make_array(), answer(stdout)) == ids


@pytest.mark.parametrize(
    "result",
    [
        answer(stderr="qselect: cannot connect to server pbshost (errno=15010)", exit_code=255),
        answer("4[].pbsh"),
        answer("Have a nice day!\n"),
        answer("\n"),
        answer("", exit_code=36),
        answer(stderr="qselect: End of File\n"),
        answer(stderr=f"qselect: {NO_HISTORY}\n", exit_code=1),
    ],
)
def test_a_lookup_that_says_nothing(result: CommandResult) -> None:
    with pytest.raises(SubmitError, match="It is not known whether array caf_0123456789 was submitted"):
        SYSTEM.parse_lookup(make_array(), result)


def test_the_lookup_asks_history_and_queue(tmp_path: Path) -> None:
    command = SYSTEM.build_lookup(make_array(name="a-b"))
    for code, said in ((0, "-x -N a-b\n-N a-b\n"), (255, "-x -N a-b\n")):
        tool = tmp_path / "qselect"
        tool.write_text(f'#!/bin/sh\necho "$*"\n[ "$1" = -N ] || exit {code}\n')
        tool.chmod(0o755)
        ran = subprocess.run(command.argv, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
        assert (ran.stdout, ran.returncode) == (said, code)


def test_without_history_the_lookup_knows_only_what_is_in_the_queue() -> None:
    """OpenPBS ends with 0 then and prints nothing but a complaint, see `qselect.c`."""
    said = f"qselect: {NO_HISTORY}\n"
    assert SYSTEM.parse_lookup(make_array(), answer("4[].pbshost\n", stderr=said)) == (("4[].pbshost",),)
    with pytest.raises(SubmitUnknown, match="the PBS server keeps no job history") as caught:
        SYSTEM.parse_lookup(make_array(), answer(stderr=said))
    assert caught.value.remembers == 0
    assert f"remove {FOLDER}/array.json" in str(caught.value.hint)


def test_an_array_that_is_over() -> None:
    found = parse(answer((GOLDEN / "qstat_finished.txt").read_text()), submitted())
    removed = "Job run at Sat Nov 21 at 00:42 on (pbshost:ncpus=1) and terminated by root@pbshost"
    assert found == {
        "a4": {
            0: Native(code="F", exit_code=0, host="pbshost"),
            1: Native(code="F", exit_code=1, host="pbshost"),
            2: Native(code="F91", reason=removed, host="pbshost"),
            3: Native(code="F", exit_code=3, host="pbshost"),
        }
    }
    states = [SYSTEM.states[native.code] for native in found["a4"].values()]
    assert states == [JobState.EXITED, JobState.EXITED, JobState.CANCELLED, JobState.EXITED]


def test_an_array_that_goes_on() -> None:
    found = parse(answer((GOLDEN / "qstat_begun.txt").read_text()), submitted())["a4"]
    assert found == {
        0: Native(code="R", host="pbshost"),
        1: Native(code="X", exit_code=1, host="pbshost"),
        # Removed while it waited.
        2: Native(code="X91", reason="removed before it ran"),
        3: Native(code="Q"),
    }
    assert SYSTEM.states["X91"] is JobState.CANCELLED


def test_the_elements_of_a_held_array_are_held() -> None:
    found = parse(answer((GOLDEN / "qstat_held.txt").read_text()), submitted("5[].pbshost", 2))
    assert found == {"a5": {0: Native(code="H", reason="hold of type u"), 1: Native(code="H", reason="hold of type u")}}


def test_plain_jobs() -> None:
    ids = ("6.pbshost", "7.pbshost", "11.pbshost", "15.pbshost", "16.pbshost")
    found = parse(answer((GOLDEN / "qstat_plain.txt").read_text()), *(submitted(id, 1) for id in ids))
    never = "Can Never Run: Insufficient amount of resource: ncpus (R: 999 A: 8 T: 8)"
    assert [found[f"a{id.partition('.')[0]}"][0] for id in ids] == [
        Native(code="F", reason="ended by SIGKILL", exit_code=137, host="pbshost"),
        Native(code="F", reason="walltime: it ran longer than it had asked for", exit_code=-29, host="pbshost"),
        Native(code="Q", reason=never, is_hopeless=True),
        Native(code="E", exit_code=0, host="pbshost"),
        Native(code="F", exit_code=254, host="pbshost"),
    ]


FAILED = "job held, too many failed attempts to run"


def build_job(id: str = "7.pbshost", **attributes: str) -> CommandResult:
    return answer(f"Job Id: {id}\n" + "".join(f"    {name} = {value}\n" for name, value in attributes.items()) + "\n")


@pytest.mark.parametrize(
    ("status", "exit_code", "reason"),
    [
        ("0", 0, None),
        ("128", 128, None),
        ("265", 137, "ended by SIGKILL"),
        ("143", 143, "ended by SIGTERM"),
        ("255", 255, None),
        ("-27", -27, "it used more memory than it had asked for"),
        ("-99", -99, "PBS could not run it"),
        ("x", None, None),
    ],
)
def test_the_exit_status(status: str, exit_code: int | None, reason: str | None) -> None:
    native = parse(build_job(job_state="F", Exit_status=status), submitted("7.pbshost", 1))["a7"][0]
    assert (native.exit_code, native.reason) == (exit_code, reason)
    assert native.out_of_memory is (status == "-27")


@pytest.mark.parametrize(
    ("attributes", "reason", "hopeless"),
    [
        ({"job_state": "H", "Hold_Types": "s", "comment": FAILED}, f"hold of type s: {FAILED}", True),
        ({"job_state": "H"}, "hold of type ?", False),
        ({"job_state": "W", "comment": "staging in"}, "staging in", False),
        ({"job_state": "S"}, "suspended", False),
        ({"job_state": "R", "comment": "Can Never Run on Mondays"}, None, False),
    ],
)
def test_why_it_does_not_go_on(attributes: dict[str, str], reason: str | None, hopeless: bool) -> None:
    native = parse(build_job(**attributes), submitted("7.pbshost", 1))["a7"][0]
    assert (native.reason, native.is_hopeless) == (reason, hopeless)


@pytest.mark.parametrize(
    ("exit_code", "stderr"),
    [
        (153, "qstat: Unknown Job Id 4[].pbshost\n"),
        (35, "qstat: 4[].pbshost Job has finished, use -x or -H to obtain historical job information\n"),
        (153, "A banner of the site\nqstat: Unknown Job Id 4[].pbshost\n"),
        # As OpenPBS says it: exit code 0, see `qstat.c`.
        (0, f"qstat: {NO_HISTORY} 4[].pbshost\n"),
        (36, f"qstat: {NO_HISTORY} 4[].pbshost\n"),
    ],
)
def test_an_array_that_the_server_does_not_know_has_no_elements(exit_code: int, stderr: str) -> None:
    assert parse(answer(exit_code=exit_code, stderr=stderr), submitted()) == {"a4": {}}


def test_the_second_question_finds_what_runs_where_there_is_no_history() -> None:
    (query,) = SYSTEM.build_history([submitted()])
    found = SYSTEM.parse_history(query, answer((GOLDEN / "qstat_begun.txt").read_text()))
    assert found.elements["a4"][0] == Native(code="R", host="pbshost")
    gone = SYSTEM.parse_history(query, answer(exit_code=153, stderr="qstat: Unknown Job Id 4[].pbshost\n"))
    assert gone.elements == {"a4": {}}


# What an element shows that has no record of its own: the attributes of its array (`status_subjob` in `stat_job.c`).
BORROWED = [
    {"job_state": "X", "substate": "70", "comment": "Subjob finished"},
    {"job_state": "F", "substate": "92", "Exit_status": "0", "comment": "Subjob finished"},
    {"job_state": "F", "substate": "93", "Exit_status": "1", "comment": "Subjob failed"},
    {"job_state": "F", "substate": "91", "Exit_status": "0", "comment": "Subjob terminated"},
    {"job_state": "X", "substate": "91", "comment": "Job Array Began at Sat Nov 21 at 00:42"},
]


@pytest.mark.parametrize("attributes", BORROWED)
@pytest.mark.parametrize("parent", [True, False])
def test_an_element_removed_while_it_waited(attributes: dict[str, str], parent: bool) -> None:
    text = build_job("4[2].pbshost", **attributes).stdout
    if parent:
        text = build_job("4[].pbshost", **{**attributes, "job_state": "B", "comment": "x"}).stdout + text
    (query,) = SYSTEM.build_query([submitted()])
    native = SYSTEM.parse_query(query, answer(text)).elements["a4"][2]
    assert SYSTEM.states[native.code] is JobState.CANCELLED
    assert (native.reason, native.exit_code) == ("removed before it ran", None)
    # Without a history what has run well looks the same: it is over, and that is all.
    (query,) = SYSTEM.build_history([submitted()])
    native = SYSTEM.parse_history(query, answer(text)).elements["a4"][2]
    assert SYSTEM.states[native.code] is JobState.EXITED
    assert (native.reason, native.exit_code) == (None if not parent else native.reason, None)


def test_the_scheduler_is_no_person() -> None:
    def see(by: str) -> JobState:
        comment = f"Job run at Sat Nov 21 at 00:42 on (pbshost:ncpus=1) and terminated by {by}"
        result = build_job(job_state="F", substate="91", Exit_status="0", exec_host="pbshost/0", comment=comment)
        return SYSTEM.states[parse(result, submitted("7.pbshost", 1))["a7"][0].code]

    assert see("root@pbshost") is JobState.CANCELLED
    assert see("Scheduler@pbshost") is JobState.EXITED


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("qsub: Array job exceeds server or queue size limit", "'array_limit'"),
        ("qsub: would exceed queue generic's per-user limit", "'array_limit'"),
        ("qsub: would exceed complex's per-user limit of jobs in 'Q' state", "'subjobs_per_job'"),
        ("qsub: Job violates queue and/or server resource limits", "'memory'"),
        ("qsub: would exceed limit on resource mem in queue workq", "'memory'"),
        ("qsub: illegal -J value", "'throttle'"),
        ("qsub: Unknown queue", "Check the queue"),
    ],
)
def test_what_to_do_about_a_refusal(text: str, hint: str) -> None:
    with pytest.raises(SubmitRefused) as caught:
        SYSTEM.parse_submit(make_array(), answer(stderr=text, exit_code=3))
    assert hint in str(caught.value.hint)


def test_one_of_several_is_unknown() -> None:
    text = (GOLDEN / "qstat_held.txt").read_text()
    result = answer(text, 153, "qstat: Unknown Job Id 4[].pbshost\n")
    assert set(parse(result, submitted(), submitted("5[].pbshost", 2))["a5"]) == {0, 1}
    assert parse(result, submitted(), submitted("5[].pbshost", 2))["a4"] == {}


@pytest.mark.parametrize(
    ("exit_code", "stderr"),
    [
        (255, "Connection refused\nqstat: cannot connect to server pbshost (errno=15010)\n"),
        (0, "qstat: End of File\n"),
        # It has not said that it does not know that one.
        (0, ""),
        (153, ""),
        (153, "qstat: Unknown Job Id 14[].pbshost\n"),
        (153, "qstat: Unknown Job Id 4.pbshost\n"),
        (153, "qstat: Unknown Job Id 9.pbshost\nqstat: Server is shutting down 4[].pbshost\n"),
        (-11, ""),
        (127, "sh: qstat: not found"),
    ],
)
def test_an_ill_server_says_nothing_about_what_is_missing(exit_code: int, stderr: str) -> None:
    text = (GOLDEN / "qstat_held.txt").read_text()
    query = SYSTEM.build_query([submitted(), submitted("5[].pbshost", 2)])[0]
    found = SYSTEM.parse_query(query, answer(text, exit_code, stderr))
    assert set(found.elements) == {"a5"}
    assert found.problems["a4"].startswith(f"qstat failed (exit code {exit_code}): ")


@pytest.mark.parametrize("size", [1, 100, 900, -1, -2, -300])
def test_a_cut_answer_says_nothing(size: int) -> None:
    whole = (GOLDEN / "qstat_finished.txt").read_text()
    with pytest.raises(PollError, match=r"is cut off, or no list of jobs"):
        parse(answer(whole[:size]), submitted())


@pytest.mark.parametrize("text", ["Have a nice day!\n", '{"Jobs": {}}', "Job Id: 4[].pbshost\n\n", "\0"])
def test_nonsense_says_nothing(text: str) -> None:
    with pytest.raises(PollError, match=r"is cut off, or no list of jobs"):
        parse(answer(text), submitted())


@given(st.integers(0, len((GOLDEN / "qstat_finished.txt").read_text())))
def test_no_cut_makes_another_state(size: int) -> None:
    whole = (GOLDEN / "qstat_finished.txt").read_text()
    expected = parse_jobs(answer(whole))
    try:
        found = parse_jobs(answer(whole[:size]))
    except PollError:
        return
    assert found.items() <= expected.items()


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_jobs(answer(text))
    except PollError:
        return
    assert all("job_state" in job for job in found.values())


def test_what_a_value_says_is_no_attribute() -> None:
    text = (
        "Job Id: 7.pbshost\n    Variable_List = A=1,\n\tjob_state = F,B=2\n    job_state = R\n"
        "    comment = a,\n\t b\n    job_state = F\n    Error_Path = x\n\n"
    )
    assert parse_jobs(answer(text)) == {"7.pbshost": {"job_state": "R", "comment": "a, b"}}


def test_a_state_that_nobody_knows_is_passed_on() -> None:
    native = parse(build_job(job_state="Z"), submitted("7.pbshost", 1))["a7"][0]
    assert native == Native(code="Z")
    assert "Z" not in SYSTEM.states


@pytest.mark.parametrize(
    ("exit_code", "stderr"),
    [
        (0, ""),
        (35, "qdel: Job has finished 9.pbshost\n"),
        (153, "qdel: Unknown Job Id 4711.pbshost\n"),
        (55, "qdel: Request invalid for finished array subjob 4[2].pbshost\nqdel: Unknown Job Id 9.pbshost\n"),
    ],
)
def test_what_is_over_can_be_cancelled_and_released(exit_code: int, stderr: str) -> None:
    SYSTEM.parse_action(submitted(), answer("", exit_code, stderr), "cancelled")
    SYSTEM.parse_action(submitted(), answer("", exit_code, stderr), "released")


@pytest.mark.parametrize(
    ("exit_code", "stderr"),
    [
        (162, "Connection refused\nCouldn't connect to cluster: pbshost\n"),
        (159, "qrls: Unauthorized Request  4[].pbshost\n"),
        (153, "qdel: Unknown Job Id 9.pbshost\nqdel: End of File\n"),
        (1, ""),
    ],
)
def test_what_the_server_did_not_take(exit_code: int, stderr: str) -> None:
    with pytest.raises(PollError, match=rf"Array a4 could not be cancelled \(exit code {exit_code}\)"):
        SYSTEM.parse_action(submitted(), answer("", exit_code, stderr), "cancelled")
    with pytest.raises(PollError, match=r"could not be released"):
        SYSTEM.parse_action(submitted(), answer("", exit_code, stderr), "released")


def test_many_ids_are_cut_into_several_commands() -> None:
    arrays = [submitted(f"{number}[].pbs.example.org", 2, name=f"a{number}") for number in range(10_000)]
    queries = SYSTEM.build_query(arrays)
    assert len(queries) == 3
    assert all(sum(map(len, query.command.argv)) < 110_000 for query in queries)
    assert [array for query in queries for array in query.arrays] == arrays
    big = submitted(elements=9000)
    commands = SYSTEM.build_cancel(big, list(range(1, 9000)))
    assert [id for command in commands for id in command.argv[1:]] == [f"4[{n}].pbshost" for n in range(1, 9000)]
    assert len(commands) == 2


@given(st.lists(st.text(max_size=30)), st.integers(1, 100))
def test_parts_have_all_words_and_are_small(words: list[str], limit: int) -> None:
    parts = cut_words(words, limit)
    assert [word for part in parts for word in part] == words
    assert all(len(part) == 1 or sum(len(word) + 1 for word in part) <= limit for part in parts)
