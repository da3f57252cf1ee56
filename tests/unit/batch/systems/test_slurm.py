"""Slurm: command lines out, answers in, and nothing run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.spec import ArraySpec, Resources, SubmittedArray
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.batch.systems.base import Answer
from airflow_provider_caf.batch.systems.slurm import SlurmSystem
from airflow_provider_caf.batch.systems.slurm_answers import STATES
from airflow_provider_caf.core.errors import DefinitionError, PollError, SubmitError, SubmitRefused, SubmitUnknown
from tests.unit.batch.arrays import FULL as ANY_FULL
from tests.unit.batch.arrays import answer, make_array, submit

GOLDEN = Path(__file__).parents[3] / "golden" / "batch" / "slurm"
SYSTEM = SlurmSystem()

FULL = replace(
    ANY_FULL,
    extra_lines=("#SBATCH --constraint=ssd", " --qos=calibration ", ""),
    environment={"A": "x\n#SBATCH --partition=other"},
)

DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
FROZEN = "slurm_load_jobs error: Socket timed out on send/recv operation"
UNKNOWN = "slurm_load_jobs error: Invalid job id specified"
NO_ACCOUNTING = "Slurm accounting storage is disabled"
NO_DATABASE = "sacct: error: Problem talking to the database: Connection refused"


def submitted(number: int, elements: int = 3, name: str | None = None) -> SubmittedArray:
    return submit(make_array(name or f"caf_{number}", elements), str(number))


def build_line(
    job: int, index: int, state: str, status: int = 0, reason: str = "None", host: str = "n/a", width: int = 96
) -> str:
    return f"{job:<16}{index:<16}{state:<24}{status:<16}{host:<64}{reason:<{width}}\n"


def ask(text: str, *arrays: SubmittedArray) -> Answer:
    (query,) = SYSTEM.build_query(arrays)
    return SYSTEM.parse_query(query, answer(text))


def see(state: str, reason: str = "None", status: int = 0) -> Native:
    return ask(build_line(7, 0, state, status, reason), submitted(7)).elements["caf_7"][0]


def ask_history(text: str, *arrays: SubmittedArray) -> Answer:
    (query,) = SYSTEM.build_history(arrays)
    return SYSTEM.parse_history(query, answer(text))


@pytest.mark.parametrize(
    ("name", "array"), [("bare", make_array()), ("full", make_array(elements=1000, resources=FULL))]
)
def test_the_submit_command(name: str, array: ArraySpec) -> None:
    submission = SYSTEM.build_submit(array)
    (script,) = submission.files
    assert (script.path, script.executable) == ("/w/caf_a/run.sh", True)
    assert script.text == (GOLDEN / f"run_{name}.sh").read_text()
    assert "\n".join(submission.command.argv) + "\n" == (GOLDEN / f"sbatch_{name}.txt").read_text()


def test_an_option_of_a_user_comes_before_the_first_command() -> None:
    (script,) = SYSTEM.build_submit(make_array(resources=FULL)).files
    lines = script.text.splitlines()
    first_command = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    options = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert options == [1, 2, first_command + 3]
    assert lines[1:3] == ["#SBATCH --constraint=ssd", "#SBATCH --qos=calibration"]


@pytest.mark.parametrize("line", ["module load root", "#BSUB -q x", "#SBATCHED", "# --mem=1"])
def test_an_extra_line_that_is_no_option_is_refused(line: str) -> None:
    with pytest.raises(DefinitionError, match="is no option of sbatch") as caught:
        SYSTEM.build_submit(make_array(resources=Resources(extra_lines=(line,))))
    assert "'setup'" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("folder", "log"),
    [
        ('/w/it\'s $(x) "a"', '/w/it\'s $(x) "a"/element_%a.log'),
        ("/w/50%a", "/w/50%%a/element_%a.log"),
        ("/w/a\\b", "/dev/null"),
    ],
)
def test_the_log_of_an_element_is_slurms_too(folder: str, log: str) -> None:
    assert f"--output={log}" in SYSTEM.build_submit(make_array(folder=folder)).command.argv


@pytest.mark.parametrize(("seconds", "minutes"), [(1, 1), (60, 1), (61, 2), (86400, 1440)])
def test_walltime_is_rounded_up_to_minutes(seconds: int, minutes: int) -> None:
    argv = SYSTEM.build_submit(make_array(resources=Resources(walltime=seconds))).command.argv
    assert f"--time={minutes}" in argv


@pytest.mark.parametrize("text", ["17\n", "site plugin: hello 4711\n17\n", "Submitted batch job 17\n"])
def test_the_id_is_found(text: str) -> None:
    assert SYSTEM.parse_submit(make_array(), answer(text)) == ("17",)


@pytest.mark.parametrize("text", ["17;north\n", "Submitted batch job 17 on cluster north\n"])
def test_the_cluster_is_part_of_the_id_and_named_by_every_command(text: str) -> None:
    (id,) = SYSTEM.parse_submit(make_array(), answer(text))
    far = replace(submitted(17, 2), ids=(id,))
    here = submitted(17, 2, "here")
    commands = [query.command for query in (*SYSTEM.build_query([far, here]), *SYSTEM.build_history([far, here]))]
    own = [
        *SYSTEM.build_cancel(far, None),
        *SYSTEM.build_cancel(far, [1]),
        *SYSTEM.build_release(far, [1]),
        *commands[::2],
    ]
    assert all(command.argv[1:3] == ("-M", "north") and command.argv[-1].startswith("17") for command in own)
    assert all("-M" not in command.argv for command in commands[1::2])
    line = build_line(17, 1, "RUNNING")
    query = SYSTEM.build_query([far, here])[0]
    found = SYSTEM.parse_query(query, answer(f"CLUSTER: north\n{line}"))
    assert set(found.elements[far.array.name]) == {1}
    with pytest.raises(PollError, match="squeue answers for the cluster south, the jobs are on north"):
        SYSTEM.parse_query(query, answer(f"CLUSTER: south\n{line}"))
    with pytest.raises(PollError, match="the jobs are on the default one"):
        ask(f"CLUSTER: south\n{line}", here)


@pytest.mark.parametrize(
    ("stdout", "stderr", "exit_code", "hint"),
    [
        ("", "sbatch: error: Batch job submission failed: Invalid partition name specified", 1, "sinfo"),
        ("", "sbatch: error: Batch job submission failed: Invalid account or account/partition", 1, "'queue'"),
        ("", "sbatch: error: Batch job submission failed: Invalid account specified", 1, "sacctmgr"),
        ("", "sbatch: error: Batch job submission failed: Invalid job array specification", 1, "array_limit"),
        (
            "",
            "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Job violates accounting/QOS policy",
            1,
            "array_limit",
        ),
        ("", "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: accounting/QOS policy", 1, "'walltime'"),
        ("", "sbatch: error: QOSMaxMemoryPerUser\nsbatch: error: Job violates accounting/QOS policy", 1, "'memory'"),
        ("", "sbatch: error: Job violates accounting/QOS policy (job submit limit)", 1, "'array_limit'"),
        ("", "sbatch: error: Memory specification can not be satisfied", 1, "memory"),
        ("", "sbatch: error: Temporary disk specification can not be satisfied", 1, "'disk'"),
        ("", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", 1, "busy"),
        ("", "sbatch: error: Batch job submission failed: Unable to contact slurm controller", 1, "down"),
        ("", "sbatch: unrecognized option '--x'", 255, "extra_lines"),
        ("", "", 0, "extra_lines"),
        # An id in a text is none, and neither is one with a failure: the name is looked up then.
        ("job 17 of yours was taken\n", "", 0, "extra_lines"),
        ("17\n", "", 139, "extra_lines"),
    ],
)
def test_a_refused_submission(stdout: str, stderr: str, exit_code: int, hint: str) -> None:
    with pytest.raises(SubmitError, match=r"sbatch did not take array caf_a \(exit code \d+\)") as caught:
        SYSTEM.parse_submit(make_array(), answer(stdout, stderr, exit_code))
    assert hint in str(caught.value.hint)
    assert (stderr or stdout.strip() or "it printed nothing") in caught.value.what


# The words of the numbers below 2000 in `slurm_errno.c`, of -1, and of a connection that was cut.
@pytest.mark.parametrize(
    "text",
    [
        "Unspecified error",
        "Unexpected message received",
        "Communication connection failure",
        "Message send failure",
        "Message receive failure",
        "Communication shutdown failure",
        "Protocol authentication error",
        "Insane message length",
        "Unexpected missing socket error",
        "Unable to contact slurm controller (receive failure)",
        "Zero Bytes were transmitted or received",
        "Socket timed out on send/recv operation",
        "Connection reset by peer",
        "No route to host",
        "Resource temporarily unavailable",
    ],
)
def test_what_was_not_answered_is_not_refused(text: str) -> None:
    with pytest.raises(SubmitError) as caught:
        SYSTEM.parse_submit(make_array(), answer("", f"sbatch: error: Batch job submission failed: {text}", 1))
    assert not isinstance(caught.value, SubmitRefused)


@pytest.mark.parametrize("text", ["Invalid partition name specified", "Requested node configuration is not available"])
def test_what_the_controller_refuses_is_refused(text: str) -> None:
    with pytest.raises(SubmitRefused):
        SYSTEM.parse_submit(make_array(), answer("", f"sbatch: error: Batch job submission failed: {text}", 1))


def test_the_lookup_hands_the_name_over_as_an_argument() -> None:
    argv = SYSTEM.build_lookup(make_array()).argv
    assert argv[-2] == "caf_a"
    assert "caf_a" not in argv[2]


@pytest.mark.parametrize(
    ("text", "stderr", "found"),
    [
        ("squeue 0\nsacct 0\n", "", ()),
        ("\nsqueue 0\nsacct 0\n", "", ()),
        ("7\n7\nsqueue 0\nsacct 0\n", "", (("7",),)),
        ("squeue 0\n7_0\n7_[1-4%2]\nsacct 0\n", "", (("7",),)),
        ("7\nsqueue 0\n7\nsacct 0\n", "", (("7",),)),
        ("11\nsqueue 0\n7_0\n11_0\nsacct 0\n", "", (("7",), ("11",))),
        ("7\nsqueue 0\nsacct 1\n", NO_ACCOUNTING, (("7",),)),
        ("7\nsqueue 0\nsacct 0\nclusters north\n", "", (("7;north",),)),
        ("CLUSTER: north\n7\nsqueue 0\nsacct 0\nclusters north\n", "", (("7;north",),)),
        ("squeue 0\nsacct 0\nclusters north,south\n", "", ()),
    ],
)
def test_the_lookup(text: str, stderr: str, found: tuple[tuple[str, ...], ...]) -> None:
    assert SYSTEM.parse_lookup(make_array(), answer(text, stderr)) == found


@pytest.mark.parametrize(("more", "remembers"), [("", 0), ("remembers 300\n", 300)])
def test_a_lookup_without_history_finds_the_queue_only(more: str, remembers: float) -> None:
    with pytest.raises(SubmitUnknown, match="Slurm keeps no history here") as caught:
        SYSTEM.parse_lookup(make_array(), answer(f"squeue 0\nsacct 1\n{more}", NO_ACCOUNTING))
    assert caught.value.remembers == remembers


@pytest.mark.parametrize(
    ("text", "stderr"),
    [
        ("", ""),
        ("7\nsqueue 0\nsacct 0\nclusters north,south\n", ""),
        ("squeue 0\n", ""),
        ("squeue 1\nsacct 0\n", DOWN),
        ("squeue 1\nsacct 1\n", NO_ACCOUNTING),
        ("squeue 0\nsacct 1\n", NO_DATABASE),
        ("squeue 0\nsacct 127\n", "caf-lookup: 3: sacct: not found"),
        ("squeue 0\nsacct 0\n", "sacct: error: DBD_GET_JOBS_COND failure: Unspecified error"),
        ("7\nsqueue 0\n7_0\nsac", ""),
        ("<html>\nsqueue 0\nsacct 0\n", ""),
    ],
)
def test_a_lookup_that_says_nothing(text: str, stderr: str) -> None:
    with pytest.raises(SubmitError, match="It is not known whether array caf_a was submitted"):
        SYSTEM.parse_lookup(make_array(), answer(text, stderr))


def test_many_arrays_are_one_query() -> None:
    arrays = [submitted(number) for number in range(10**6, 10**6 + 7001)]
    for queries in (SYSTEM.build_query(arrays), SYSTEM.build_history(arrays)):
        assert [len(query.arrays) for query in queries] == [7000, 1]
        assert all(len(word) < 100_000 for query in queries for word in query.command.argv)
        assert queries[0].command.argv[-1].startswith("1000000,1000001,")
        assert queries[0].command.environment == {"SLURM_BITSTR_LEN": "0"}


def test_a_captured_queue() -> None:
    arrays = [submitted(75, 8), submitted(76, 2), submitted(77, 2), submitted(78, 1), submitted(84, 1)]
    elements = ask((GOLDEN / "squeue.txt").read_text(), *arrays).elements
    mixed = elements["caf_75"]
    assert sorted(mixed) == list(range(8))
    assert mixed[0] == Native(code="COMPLETED", exit_code=0, host="node1")
    assert mixed[1] == Native(code="FAILED", exit_code=3, host="node1", reason="NonZeroExitCode")
    assert mixed[2] == Native(code="FAILED", host="node1", reason="JobLaunchFailure, ended by signal 9")
    assert mixed[4] == Native(code="CANCELLED", host="node1")
    assert mixed[5] == Native(code="RUNNING", host="node1")
    assert elements["caf_76"][1] == Native(code="PENDING_HELD", reason="JobHeldUser: held by its owner")
    assert elements["caf_77"][0].is_hopeless
    assert elements["caf_77"][0].reason == "PartitionTimeLimit: its walltime is more than the partition allows"
    assert "the node could not start it" in str(elements["caf_78"][0].reason)
    assert {STATES[each.code] for element in elements.values() for each in element.values()} == {
        *(JobState.CANCELLED, JobState.EXITED, JobState.HELD, JobState.QUEUED, JobState.RUNNING)
    }


@pytest.mark.parametrize(
    ("state", "reason", "held", "hopeless"),
    [
        ("PENDING", "Resources", False, False),
        ("PENDING", "Priority", False, False),
        ("PENDING", "PartitionConfig", False, False),
        ("PENDING", "ReqNodeNotAvail, UnavailableNodes:node1", False, False),
        ("PENDING", "QOSMaxJobsPerUserLimit", False, False),
        ("PENDING", "AssocGrpCpuLimit", False, False),
        ("PENDING", "JobHeldUser", True, False),
        ("PENDING", "JobHeldAdmin", True, False),
        ("PENDING", "JobHoldMaxRequeue", True, True),
        ("PENDING", "launch failed requeued held", True, False),
        ("PENDING", "(user env retrieval failed requeued held)", True, False),
        ("PENDING", "BadConstraints", False, True),
        ("PENDING", "PartitionTimeLimit", False, True),
        ("PENDING", "AssocMaxWallDurationPerJobLimit", False, True),
        ("PENDING", "QOSMaxMemoryPerJob", False, True),
        ("RUNNING", "JobHeldAdmin", False, False),
        ("CANCELLED", "PartitionTimeLimit", False, False),
    ],
)
def test_what_an_element_waits_for(state: str, reason: str, held: bool, hopeless: bool) -> None:
    native = see(state, reason)
    assert (STATES[native.code] is JobState.HELD, native.is_hopeless) == (held, hopeless)
    # What does not wait any more keeps the word of the time when it did.
    shown = reason.strip("()").replace(" ", "_") if state == "PENDING" else "None"
    assert str(native.reason).startswith(shown)


@pytest.mark.parametrize(
    ("state", "status", "exit_code", "reason"),
    [
        ("FAILED", 125 << 8, 125, "NonZeroExitCode"),
        ("TIMEOUT", 15, None, "NonZeroExitCode, TIMEOUT: its walltime is over, ended by signal 15"),
        ("OUT_OF_MEMORY", 125 << 8, 125, "NonZeroExitCode, OUT_OF_MEMORY: it used more memory than it had asked for"),
        ("NODE_FAIL", 1, None, "NonZeroExitCode, NODE_FAIL: its node failed, ended by signal 1"),
        ("FAILED", 139, None, "NonZeroExitCode, ended by signal 11"),
    ],
)
def test_why_an_element_ended(state: str, status: int, exit_code: int | None, reason: str) -> None:
    native = see(state, "NonZeroExitCode", status)
    assert (native.exit_code, native.reason) == (exit_code, reason)


def test_memory_is_seen_as_the_cause() -> None:
    assert see("OUT_OF_MEMORY", "OutOfMemory", 9).out_of_memory
    assert not see("TIMEOUT", "TimeLimit", 15).out_of_memory


def test_a_state_that_is_not_known_is_handed_on() -> None:
    assert see("NEW_IN_30").code == "NEW_IN_30"
    assert "NEW_IN_30" not in STATES


def test_ids_that_are_no_longer_known_are_missing() -> None:
    arrays = (submitted(7), submitted(8))
    (query,) = SYSTEM.build_query(arrays)
    nothing: dict[str, dict[int, Native]] = {"caf_7": {}, "caf_8": {}}
    assert SYSTEM.parse_query(query, answer("", UNKNOWN, 1)).elements == nothing
    assert SYSTEM.parse_query(query, answer()).elements == nothing
    one = ask(build_line(8, 2, "RUNNING"), *arrays).elements
    assert (one["caf_7"], list(one["caf_8"])) == ({}, [2])


@pytest.mark.parametrize(
    ("stdout", "stderr", "exit_code"),
    [
        ("", DOWN, 1),
        ("", FROZEN, 1),
        (build_line(7, 0, "RUNNING"), DOWN, 1),
        (build_line(7, 0, "RUNNING").rstrip(), "", 0),
        (build_line(7, 0, "RUNNING") + "7      ", "", 0),
        (build_line(7, 0, "RUNNING")[:100] + "\n", "", 0),
        ("<html>\n", "", 0),
        (f"{7:<16}{'N/A':<16}{'RUNNING':<24}{0:<16}{'n/a':<64}{'None':<96}\n", "", 0),
    ],
)
def test_an_answer_of_squeue_that_says_nothing(stdout: str, stderr: str, exit_code: int) -> None:
    (query,) = SYSTEM.build_query((submitted(7),))
    with pytest.raises(PollError, match="squeue"):
        SYSTEM.parse_query(query, answer(stdout, stderr, exit_code))


@given(st.integers(0, 400))
def test_a_queue_that_is_cut_anywhere_shows_no_wrong_state(length: int) -> None:
    text = build_line(7, 0, "COMPLETED") + build_line(7, 1, "FAILED", 768)
    (query,) = SYSTEM.build_query((submitted(7),))
    try:
        elements = SYSTEM.parse_query(query, answer(text[:length])).elements["caf_7"]
    except PollError:
        return
    whole = ask(text, submitted(7)).elements["caf_7"]
    assert elements.items() <= whole.items()


def test_a_captured_history() -> None:
    arrays = [submitted(75, 8), submitted(76, 2), submitted(77, 2), submitted(78, 1), submitted(84, 1)]
    elements = ask_history((GOLDEN / "sacct.txt").read_text(), *arrays).elements
    mixed = elements["caf_75"]
    assert [mixed[index].code for index in range(8)] == ["COMPLETED", "FAILED", "FAILED", "FAILED", *["CANCELLED"] * 4]
    # It takes 128 off an exit code that is 128 or more.
    assert mixed[1] == Native(code="FAILED", reason="sacct says exit code 3, which may stand for 131", host="node1")
    assert mixed[2] == Native(code="FAILED", reason="ended by signal 9", host="node1")
    assert elements["caf_76"] == dict.fromkeys(range(2), Native(code="CANCELLED", reason="cancelled by root"))
    assert "the node could not start it" in str(elements["caf_78"][0].reason)


def test_what_the_history_says_of_the_living_is_not_believed() -> None:
    arrays = [submitted(75, 8), submitted(76, 2), submitted(77, 2), submitted(78, 1), submitted(84, 1)]
    elements = ask_history((GOLDEN / "sacct_running.txt").read_text(), *arrays).elements
    assert sorted(elements["caf_75"]) == [0, 1, 2, 3, 4]
    assert (elements["caf_76"], elements["caf_77"]) == ({}, {})


def test_a_line_of_one_element_counts_more_than_one_of_many() -> None:
    text = "7_[0-2,4,7-9:2%1]|CANCELLED by 1000|0:0|None assigned\n7_1|COMPLETED|0:0|node1\n"
    codes = {index: native.code for index, native in ask_history(text, submitted(7, 9)).elements["caf_7"].items()}
    assert codes == {**dict.fromkeys((0, 2, 4, 7), "CANCELLED"), 1: "COMPLETED"}


def test_a_list_that_is_cut_tells_of_what_it_has() -> None:
    text = "7_[0,2-3,...%1]|CANCELLED by 0|0:0|None assigned\n7_[6,...|CANCELLED by 0|0:0|\n"
    assert sorted(ask_history(text, submitted(7, 9)).elements["caf_7"]) == [0, 2, 3, 6]


def test_a_first_record_without_elements_says_nothing() -> None:
    assert ask_history("7|FAILED|0:53|node1\n", submitted(7)).elements == {"caf_7": {}}


def test_a_site_without_accounting_knows_nothing() -> None:
    (query,) = SYSTEM.build_history((submitted(7),))
    assert SYSTEM.parse_history(query, answer("", NO_ACCOUNTING, 1)).elements == {"caf_7": {}}


@pytest.mark.parametrize(
    ("stdout", "stderr", "exit_code"),
    [
        ("", NO_DATABASE, 1),
        # `sacct` ends with the number of the error, and the system keeps its last eight bits.
        ("", "sacct: error: DBD_GET_JOBS_COND failure: Unspecified error", 0),
        ("", "sacct: error: Job accounting is disabled", 0),
        ("7_0|COMPLETED|0:0|node1", "", 0),
        ("7_0|COMP\n", "", 0),
        ("<html>\n", "", 0),
        ("7_0|COMPLETED|0:0|node1\n", "", 1),
    ],
)
def test_an_answer_of_sacct_that_says_nothing(stdout: str, stderr: str, exit_code: int) -> None:
    (query,) = SYSTEM.build_history((submitted(7),))
    with pytest.raises(PollError, match="sacct"):
        SYSTEM.parse_history(query, answer(stdout, stderr, exit_code))


def test_the_commands_that_end_elements() -> None:
    def build(elements: list[int] | None) -> list[tuple[str, ...]]:
        return [command.argv for command in SYSTEM.build_cancel(submitted(7, 9), elements)]

    assert build(None) == [("scancel", "7")]
    assert build([8, 0, 1, 2, 5]) == [("scontrol", "hold", "7_[0-2,5,8]"), ("scancel", "7_[0-2,5,8]")]
    (release,) = SYSTEM.build_release(submitted(7), [0, 2])
    assert release.argv == ("scontrol", "release", "7_[0,2]")


def test_many_elements_are_cancelled_in_pieces() -> None:
    commands = SYSTEM.build_cancel(submitted(1234567, 20000), list(range(0, 20000, 2)))
    assert [command.argv[0] for command in commands] == ["scontrol", "scancel"] * 2
    assert max(len(word) for command in commands for word in command.argv) < 100_000


@pytest.mark.parametrize(
    ("stderr", "exit_code"),
    [
        ("", 0),
        ("scancel: error: Kill job error on job id 7: Invalid job id specified", 1),
        ("scancel: error: Kill job error on job id 7: Job/step already completing or completed", 1),
        ("7_0,5: Job has already finished\n7_12: No error\n", 1),
        ("Job is no longer pending execution for job 7_1", 1),
    ],
)
def test_what_is_over_already_is_no_error(stderr: str, exit_code: int) -> None:
    SYSTEM.parse_action(submitted(7), answer("", stderr, exit_code), "cancelled")
    SYSTEM.parse_action(submitted(7), answer("", stderr, exit_code), "released")


@pytest.mark.parametrize(
    ("stderr", "exit_code"),
    [
        ("", 1),
        ("scancel: error: Kill job error on job id 7: Unable to contact slurm controller (connect failure)", 8),
        ("Unexpected message received for job 7_0\nslurm_suspend error: Unexpected message received", 1),
        ("7_0: Job has already finished\n7_1: Access/permission denied", 1),
        # 2048, of which the system keeps the last eight bits.
        ("scancel: error: Kill job error on job id 7: Requested operation is presently disabled", 0),
    ],
)
def test_a_controller_that_did_not_listen_is_told(stderr: str, exit_code: int) -> None:
    result = answer("", stderr, exit_code, ("scancel", "7"))
    with pytest.raises(PollError, match=r"(?s)Array caf_7 could not be cancelled .*Try by hand: scancel 7"):
        SYSTEM.parse_action(submitted(7), result, "cancelled")
    with pytest.raises(PollError):
        SYSTEM.parse_action(submitted(7), result, "released")


def test_it_is_found_by_name() -> None:
    assert isinstance(load_system("Slurm"), SlurmSystem)
