"""LSF: command lines out, answers in, and nothing run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.spec import Command, CommandResult, Resources, SubmittedArray
from airflow_provider_caf.batch.systems.base import Answer, Query
from airflow_provider_caf.batch.systems.lsf import LSFSystem
from airflow_provider_caf.core.errors import DefinitionError, PollError, SubmitError, SubmitRefused
from tests.unit.batch.arrays import FULL as ANY_FULL
from tests.unit.batch.arrays import make_array, submit

GOLDEN = Path(__file__).parents[3] / "golden" / "batch" / "lsf"
SYSTEM = LSFSystem()

FULL = replace(ANY_FULL, extra_lines=("#BSUB -sp 70", "#BSUB -env none"), environment={"A": "x\n#BSUB -q other"})


def submitted(id: str = "77", name: str = "caf_a", elements: int = 3) -> SubmittedArray:
    return submit(make_array(name, elements), id)


def answer(stdout: object = "", exit_code: int = 0, stderr: str = "") -> CommandResult:
    text = stdout if isinstance(stdout, str) else json.dumps(stdout)
    return CommandResult(argv=("b", "77"), exit_code=exit_code, stdout=text, stderr=stderr)


def ask(*arrays: SubmittedArray) -> Query:
    return Query(command=Command(argv=("bjobs",)), arrays=arrays)


def golden(name: str) -> str:
    return (GOLDEN / name).read_text()


def records(*values: dict[str, str]) -> dict[str, Any]:
    return {"COMMAND": "bjobs", "JOBS": len(values), "RECORDS": list(values)}


@pytest.mark.parametrize(("name", "resources"), [("bare", Resources()), ("full", FULL)])
def test_the_submit_command(name: str, resources: Resources) -> None:
    submission = SYSTEM.build_submit(make_array(resources=resources))
    assert submission.command.argv == tuple(json.loads(golden(f"bsub_{name}.json")))
    assert submission.command.stdin == golden(f"bsub_{name}.stdin")
    (file,) = submission.files
    assert (file.path, file.executable) == ("/w/caf_a/run.sh", True)
    assert file.text == golden(f"run_{name}.sh")


@pytest.mark.parametrize(("seconds", "minutes"), [(1, "1"), (60, "1"), (61, "2"), (86400, "1440")])
def test_the_walltime_is_rounded_up_to_minutes(seconds: int, minutes: str) -> None:
    argv = SYSTEM.build_submit(make_array(resources=Resources(walltime=seconds))).command.argv
    assert argv[argv.index("-W") + 1] == minutes


def test_one_core_asks_for_no_span() -> None:
    argv = SYSTEM.build_submit(make_array(resources=Resources(cpus=1))).command.argv
    assert argv[-2:] == ("-n", "1")


def test_a_hostile_folder_is_one_word_of_the_shell() -> None:
    folder = '/w/it\'s $(touch broken) "a"; `b` & <c> * %J'
    submission = SYSTEM.build_submit(make_array(folder=folder))
    assert folder not in " ".join(submission.command.argv)
    assert submission.command.stdin == (
        "#!/bin/sh\nexec /bin/bash '/w/it'\"'\"'s $(touch broken) \"a\"; `b` & <c> * %J/run.sh'\n"
    )


@pytest.mark.parametrize("folder", ["/w/a\n#BSUB -q other", "/w/a\rb"])
def test_a_folder_that_bsub_would_read_is_refused(folder: str) -> None:
    with pytest.raises(DefinitionError, match="has a line break in its name"):
        SYSTEM.build_submit(make_array(folder=folder))


@pytest.mark.parametrize("line", ["echo hello", "#SBATCH -x", "#BSUBx", " #BSUB -x"])
def test_an_extra_line_that_is_no_directive_is_refused(line: str) -> None:
    with pytest.raises(DefinitionError, match=r"The extra line '.*' of array caf_a is no directive of LSF") as caught:
        SYSTEM.build_submit(make_array(resources=Resources(extra_lines=(line,))))
    assert "'setup'" in str(caught.value)


@pytest.mark.parametrize(
    "result",
    [
        answer("Job <5> is submitted to default queue <normal>.\n"),
        answer("Job <5> is submitted to queue <short>.\n"),
        answer("Cannot connect to LSF. Please wait ...\nesub: project set\nJob <5> is submitted to queue <q>.\n"),
        answer(stderr="Job <5> is submitted to queue <q>.", exit_code=139),
    ],
)
def test_the_id_is_found_anywhere(result: CommandResult) -> None:
    assert SYSTEM.parse_submit(make_array(), result) == ("5",)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (answer("", 255, "nosuch: No such queue. Job not submitted.\n"), "exit code 255.*: nosuch: No such queue"),
        (answer("", 255, "Bad resource requirement syntax. Job not submitted."), "exit code 255.*: Bad resource"),
        (answer(""), "exit code 0.*: it printed nothing"),
        (answer("Job <5> is submitted to queue <q>.\nJob <6> is submitted to queue <q>.\n"), "exit code 0"),
        (answer("", -9), "exit code -9"),
    ],
)
def test_a_submit_that_was_refused(result: CommandResult, said: str) -> None:
    with pytest.raises(SubmitError, match=rf"(?s)LSF did not take array caf_a \({said}"):
        SYSTEM.parse_submit(make_array(), result)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("caf_a[1-5000]: Bad job array format. Job not submitted.", "'array_limit'"),
        ("Job array index too large. Job not submitted.", "'array_limit'"),
        ("The destination queue has reached its job limit. Job not submitted.", "'subjobs_per_job'"),
        ("26MB: MEMLIMT value should be a positive integer. Job not submitted.", "'memory_unit'"),
        ("Bad resource requirement syntax. Job not submitted.", "'memory_unit'"),
        ("MEMLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.", "Lower 'memory'"),
    ],
)
def test_what_to_do_about_a_refusal(text: str, hint: str) -> None:
    with pytest.raises(SubmitRefused) as caught:
        SYSTEM.parse_submit(make_array(), answer("", 255, text))
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("unit", "limit", "reserved"),
    [
        (None, "3000MB", "rusage[mem=3000MB:tmp=10MB]"),
        # Without LSF_UNIT_FOR_LIMITS limits are in kB, reservations in MB.
        ("K", "3072000", "rusage[mem=3000:tmp=10]"),
        ("M", "3000", "rusage[mem=3000:tmp=10]"),
        ("G", "3", "rusage[mem=3:tmp=1]"),
        ("T", "1", "rusage[mem=1:tmp=1]"),
    ],
)
def test_sizes_are_said_in_the_unit_of_the_site(unit: str | None, limit: str, reserved: str) -> None:
    argv = SYSTEM.build_submit(make_array(resources=Resources(memory=3000, disk=10, memory_unit=unit))).command.argv
    assert argv[argv.index("-M") + 1] == limit
    assert argv[argv.index("-R") + 1] == reserved


IBM, VOLCLAVA, OTHER = "IBM Spectrum LSF Standard 10.1.0.0\n", "volclava 2.2, Nov 21 2026\n", "OpenLava 3.0\n"


@pytest.mark.parametrize(
    ("said", "unit"),
    [
        # It takes units, whatever its plain numbers mean.
        (f"{IBM}LSF_UNIT_FOR_LIMITS=GB\n", None),
        (f"{VOLCLAVA}LSF_UNIT_FOR_LIMITS=GB\n", "G"),
        (f'{VOLCLAVA}x=1\n  LSF_UNIT_FOR_LIMITS = "t"\n', "T"),
        (f"{VOLCLAVA}#LSF_UNIT_FOR_LIMITS=GB\n", "M"),
        (VOLCLAVA, "M"),
        # Nobody says it: not guessed. A refusal tells what to set.
        (OTHER, None),
        (f"{OTHER}LSF_UNIT_FOR_LIMITS=KB\n", "K"),
        ("sh: lsid: not found\n", None),
        ("", None),
    ],
)
def test_the_unit_is_what_the_system_tells(said: str, unit: str | None) -> None:
    array = make_array(resources=Resources(memory=26))
    assert SYSTEM.build_probe(array) is not None
    assert SYSTEM.parse_probe(array, answer(said)).resources == Resources(memory=26, memory_unit=unit)


def test_a_unit_that_is_said_or_not_needed_is_not_asked_for() -> None:
    assert SYSTEM.build_probe(make_array(resources=Resources(memory=26, memory_unit="M"))) is None
    assert SYSTEM.build_probe(make_array()) is None
    assert SYSTEM.build_probe(make_array(resources=Resources(disk=1))) is not None


def test_one_query_for_all() -> None:
    arrays = [submitted(str(100 + number), f"caf_{number}") for number in range(200)]
    (query,) = SYSTEM.build_query(arrays)
    assert query.arrays == tuple(arrays)
    assert list(query.command.argv[:6]) == json.loads(golden("bjobs.json"))
    assert query.command.argv[6:] == tuple(array.ids[0] for array in arrays)


def test_ids_are_cut_below_the_limit_of_arguments() -> None:
    arrays = [submitted(str(10**9 + number), f"caf_{number}", 1) for number in range(20_000)]
    for queries in (SYSTEM.build_query(arrays), SYSTEM.build_history(arrays)):
        assert len(queries) == 3
        assert tuple(each for query in queries for each in query.arrays) == tuple(arrays)
        assert all(len(" ".join(query.command.argv)) < 100_000 for query in queries)


def test_the_states_of_an_array() -> None:
    said = SYSTEM.parse_query(
        ask(submitted("77", elements=9), submitted("78", "caf_b")), answer(golden("bjobs_ibm.json"))
    )
    assert said.problems == {}
    assert said.elements["caf_b"] == {}
    natives = said.elements["caf_a"]
    assert natives == {
        0: Native(code="DONE", exit_code=0, host="node1"),
        1: Native(code="EXIT", exit_code=3, host="node2"),
        2: Native(code="TERM_OWNER", exit_code=130, host="node1", reason="TERM_OWNER: job killed by owner"),
        3: Native(
            code="EXIT",
            exit_code=137,
            host="node1",
            reason="TERM_MEMLIMIT: job killed after reaching LSF memory usage limit",
            out_of_memory=True,
        ),
        4: Native(
            code="EXIT", exit_code=140, host="node1", reason="SIGUSR2, which LSF sends at the end of the walltime"
        ),
        5: Native(code="PEND", reason="New job is waiting for scheduling"),
        6: Native(code="PSUSP", reason="held while it was pending: The job was suspended by the user while pending"),
        7: Native(code="UNKWN", reason="its host cannot be reached", host="node5"),
    }
    assert [SYSTEM.states[natives[index].code] for index in range(8)] == [
        *(JobState.EXITED, JobState.EXITED, JobState.CANCELLED, JobState.EXITED, JobState.EXITED),
        *(JobState.QUEUED, JobState.HELD, JobState.UNKNOWN),
    ]


@pytest.mark.parametrize(
    "stat", ["PEND", "PSUSP", "RUN", "USUSP", "SSUSP", "DONE", "EXIT", "UNKWN", "WAIT", "ZOMBI", "PROV"]
)
def test_every_state_of_the_manual_is_known(stat: str) -> None:
    assert stat in SYSTEM.states


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("137", "ended by SIGKILL"),
        ("143", "ended by SIGTERM"),
        ("255", None),
        ("128", None),
        ("127", None),
        ("", None),
    ],
)
def test_an_exit_code_is_explained(code: str, reason: str | None) -> None:
    record = {"JOBID": "77", "JOBINDEX": "1", "STAT": "EXIT", "EXIT_CODE": code}
    native = SYSTEM.parse_query(ask(submitted()), answer(records(record))).elements["caf_a"][0]
    assert (native.exit_code, native.reason) == (int(code) if code else None, reason)


def test_an_unknown_reason_of_an_end_is_still_an_end() -> None:
    record = {"JOBID": "77", "JOBINDEX": "1", "STAT": "EXIT", "EXIT_REASON": "TERM_NEWWORD: who knows"}
    native = SYSTEM.parse_query(ask(submitted()), answer(records(record))).elements["caf_a"][0]
    assert native == Native(code="EXIT", reason="TERM_NEWWORD: who knows")


def test_the_answer_of_a_compatible_system() -> None:
    said = SYSTEM.parse_query(ask(submitted("5", elements=4)), answer(golden("bjobs_compatible.json")))
    assert said == Answer(elements={"caf_a": dict.fromkeys(range(4), Native(code="EXIT"))})


@pytest.mark.parametrize(
    "result",
    [
        answer(golden("bjobs_unknown.json"), 255),
        answer("", 255, "Job <4711> is not found"),
        answer("Welcome!\n" + json.dumps(records({"JOBID": "4711", "ERROR": "Job <4711> is not found"}))),
    ],
)
def test_what_lsf_does_not_know_any_more_is_missing(result: CommandResult) -> None:
    assert SYSTEM.parse_query(ask(submitted("4711")), result) == Answer(elements={"caf_a": {}})


@pytest.mark.parametrize(
    "result",
    [
        answer("", 0, "No unfinished job found"),
        answer("", 255, "No job found"),
        answer("", 255, "Job <4712> is not found"),
        answer(records()),
        answer(records({"JOBID": "4712", "JOBINDEX": "1", "STAT": "RUN"})),
    ],
)
def test_a_job_of_which_nothing_is_said_is_not_missing(result: CommandResult) -> None:
    said = SYSTEM.parse_query(ask(submitted("4711")), result)
    assert said.elements == {}
    assert "bjobs says nothing of it" in said.problems["caf_a"]


# `main` in `bjobs.c` of volclava: with -json an error goes to standard error, and the list is printed all the same.
UNANSWERED = [
    "Failed in an LSF library call: LIM is down; try later",
    "Batch protocol error",
    "batch system daemon not responding ... still trying\nConnection refused by server",
    "User permission denied",
]


@pytest.mark.parametrize("error", UNANSWERED)
def test_an_empty_list_beside_an_error_is_no_answer(error: str) -> None:
    with pytest.raises(PollError, match="bjobs gave no answer"):
        SYSTEM.parse_query(ask(submitted()), answer(records(), 255, error))
    said = f"{error}\n{json.dumps(records())}{BETWEEN.format(255)}{NONE_IN_HISTORY}"
    with pytest.raises(SubmitError, match="It is not known"):
        SYSTEM.parse_lookup(make_array(), answer(said, 255))


@pytest.mark.parametrize("error", [each for each in UNANSWERED if "denied" not in each])
def test_a_submission_that_was_not_answered_is_not_refused(error: str) -> None:
    with pytest.raises(SubmitError) as caught:
        SYSTEM.parse_submit(make_array(), answer("", 255, f"{error}. Job not submitted.\n"))
    assert not isinstance(caught.value, SubmitRefused)


def test_one_unknown_id_does_not_hide_the_others() -> None:
    query = ask(submitted("4711"), submitted("3", "caf_b", 1))
    text = golden("bjobs_one_unknown.json").replace('"STAT":', '"JOB_NAME": "caf_b[1]", "STAT":')
    assert SYSTEM.parse_query(query, answer(text)).elements == {"caf_a": {}, "caf_b": {0: Native(code="EXIT")}}


@pytest.mark.parametrize("name", ["caf_a[1-3]", "caf_a", "caf_a[1-30000]%50"])
def test_an_array_that_became_a_plain_job(name: str) -> None:
    told = [{"JOBID": "77", "JOB_NAME": name, "STAT": "RUN"}, {"JOBID": "77", "JOBINDEX": "0", "STAT": "RUN"}]
    for record in told:
        natives = SYSTEM.parse_query(ask(submitted()), answer(records(record))).elements["caf_a"]
        assert set(natives) == {0, 1, 2}
        assert all(
            native.code == "RUN" and "one plain job of the array of 3" in str(native.reason)
            for native in natives.values()
        )


def test_elements_that_are_not_ours_are_left_out() -> None:
    told = [{"JOBID": "77", "JOBINDEX": index, "STAT": "RUN"} for index in ("1", "4", "99")]
    assert set(SYSTEM.parse_query(ask(submitted()), answer(records(*told))).elements["caf_a"]) == {0}


@pytest.mark.parametrize(
    "result",
    [
        answer("", 255, "batch system daemon not responding ... still trying"),
        answer("", 127, "sh: 2: bjobs: not found"),
        answer("", 99, "<JOBINDEX> in the format string is not a valid field name."),
        answer(golden("bjobs_ibm.json")[:700]),
        answer("Have a nice day!"),
        answer("[]"),
        answer({"RECORDS": "none"}),
        answer({"RECORDS": [3]}),
        answer({"RECORDS": [{"STAT": "RUN"}]}),
        answer({}),
        answer(""),
    ],
)
def test_an_answer_that_is_none(result: CommandResult) -> None:
    with pytest.raises(PollError, match=rf"bjobs gave no answer \(exit code {result.exit_code}\)"):
        SYSTEM.parse_query(ask(submitted()), result)


def test_what_cannot_be_said_of_one_array_does_not_spoil_the_others() -> None:
    told = [
        {"JOBID": "1", "ERROR": "User permission denied"},
        {"JOBID": "2", "JOBINDEX": "1"},
        {"JOBID": "3", "JOBINDEX": "1", "STAT": "RUN"},
    ]
    query = ask(submitted("1", "caf_a"), submitted("2", "caf_b"), submitted("3", "caf_c"))
    said = SYSTEM.parse_query(query, answer(records(*told)))
    assert said.problems == {"caf_a": "User permission denied", "caf_b": "a record of job 2 has no STAT"}
    assert said.elements == {"caf_c": {0: Native(code="RUN")}}


BETWEEN = "\n\nexit code of bjobs: {}\n"
FOUND = json.dumps(records({"JOBID": "77", "JOB_NAME": "caf_a[1]"}, {"JOBID": "77", "JOB_NAME": "caf_a[2]"}))
NONE_IN_QUEUE = "Job <caf_a> is not found" + BETWEEN.format(255)
NONE_IN_HISTORY = "No matching job found"


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (answer(FOUND + BETWEEN.format(0), 255, NONE_IN_HISTORY), (("77",),)),
        # The queue's word is enough.
        (answer(FOUND + BETWEEN.format(0), 255, "lsb.events: Permission denied"), (("77",),)),
        (answer(FOUND + BETWEEN.format(0) + golden("bhist_ibm.txt")), (("77",),)),
        (answer(NONE_IN_QUEUE + golden("bhist_ibm.txt")), (("77",),)),
        (answer(NONE_IN_QUEUE + golden("bhist_ibm.txt").replace("caf_a[", "caf_ab[")), ()),
        (answer(NONE_IN_QUEUE, 255, NONE_IN_HISTORY), ()),
        (answer(NONE_IN_QUEUE + NONE_IN_HISTORY, 255), ()),
        (answer(json.dumps(records()) + BETWEEN.format(0), 255, NONE_IN_HISTORY), ()),
        (
            answer(
                json.dumps(records({"JOBID": "", "ERROR": "Job <caf_a> is not found"})) + BETWEEN.format(255),
                255,
                NONE_IN_HISTORY,
            ),
            (),
        ),
        (answer(FOUND.replace("77", "76") + BETWEEN.format(0) + golden("bhist_ibm.txt")), (("76",), ("77",))),
    ],
)
def test_the_lookup(result: CommandResult, found: tuple[tuple[str, ...], ...]) -> None:
    assert SYSTEM.parse_lookup(make_array(), result) == found


@pytest.mark.parametrize(
    "result",
    [
        answer("", 255, NONE_IN_HISTORY),
        answer("batch system daemon not responding ... still trying" + BETWEEN.format(255), 255, NONE_IN_HISTORY),
        answer(BETWEEN.format(0), 255, NONE_IN_HISTORY),
        answer(FOUND[:40] + BETWEEN.format(0), 255, NONE_IN_HISTORY),
        answer(json.dumps(records({"JOBID": "", "ERROR": "try later"})) + BETWEEN.format(255), 255, NONE_IN_HISTORY),
        answer(NONE_IN_QUEUE, 255, "ls_getclustername(): LIM is down; try later"),
        answer(NONE_IN_QUEUE + golden("bhist_ibm.txt")[:1500]),
        answer(NONE_IN_QUEUE),
    ],
)
def test_not_knowing_is_not_there_is_none(result: CommandResult) -> None:
    with pytest.raises(SubmitError, match="It is not known whether array caf_a was submitted"):
        SYSTEM.parse_lookup(make_array(), result)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        (None, ["77"]),
        ([0], ["77[1]"]),
        ([3, 0, 1, 7], ["77[1-2]", "77[4]", "77[8]"]),
    ],
)
def test_cancel(elements: list[int] | None, words: list[str]) -> None:
    (command,) = SYSTEM.build_cancel(submitted(elements=9), elements)
    assert command.argv == ("bkill", *words)


def test_release() -> None:
    (command,) = SYSTEM.build_release(submitted(), [1, 2])
    assert command.argv == ("bresume", "77[2-3]")


@given(st.sets(st.integers(0, 60_000), min_size=1))
def test_every_element_is_named_once(elements: set[int]) -> None:
    commands = SYSTEM.build_cancel(submitted(elements=60_001), sorted(elements))
    assert all(len(" ".join(command.argv)) < 100_000 for command in commands)
    named: list[int] = []
    for word in (word for command in commands for word in command.argv[1:]):
        first, _, last = word.removeprefix("77[").removesuffix("]").partition("-")
        named.extend(range(int(first) - 1, int(last or first)))
    assert named == sorted(elements)


def test_many_elements_are_cut_into_several_commands() -> None:
    commands = SYSTEM.build_cancel(submitted(elements=40_000), range(0, 40_000, 2))
    assert len(commands) == 4
    assert all(len(" ".join(command.argv)) < 100_000 for command in commands)


@pytest.mark.parametrize(
    "result",
    [
        answer("Job <77> is being terminated\n"),
        answer("", 255, "Job <77>: Operation is in progress\n"),
        answer("", 255, "Job <77>: Job has already finished\n"),
        answer("", 255, "Job <77[9]>: No matching job found\n"),
        answer("Job <77[1]> is being terminated\n", 255, "Job <77[2]>: Job has already finished\n"),
        answer("", 255, "Job <77[1]>: Job has already started\n"),
    ],
)
def test_nothing_to_do_is_no_error(result: CommandResult) -> None:
    SYSTEM.parse_action(submitted(), result, "cancelled")
    SYSTEM.parse_action(submitted(), result, "released")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (answer("", 255, "Job <77>: User permission denied\n"), "User permission denied"),
        (answer("Job <77[1]> is being terminated\n", 255, "Job <77[2]>: User permission denied\n"), "permission"),
        (answer("", 255, "batch system daemon not responding ... still trying"), "still trying"),
        (answer("", 255, "x: Illegal job ID."), "Illegal job ID"),
        (answer("", 127), "it printed nothing"),
    ],
)
def test_a_cancel_that_failed(result: CommandResult, said: str) -> None:
    with pytest.raises(PollError, match=rf"(?s)Array caf_a could not be cancelled \(exit code .*{said}"):
        SYSTEM.parse_action(submitted(), result, "cancelled")
    with pytest.raises(PollError, match=rf"(?s)Array caf_a could not be released \(exit code .*{said}"):
        SYSTEM.parse_action(submitted(), result, "released")
