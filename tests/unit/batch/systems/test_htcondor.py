"""HTCondor: submit files and command lines out, answers in, and nothing run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.spec import ArraySpec, Resources, SubmittedArray
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.batch.systems.base import Answer
from airflow_provider_caf.batch.systems.htcondor import STATES, HTCondorSystem
from airflow_provider_caf.core.errors import DefinitionError, PollError, SubmitError, SubmitRefused, SubmitUnknown
from tests.unit.batch import arrays
from tests.unit.batch.arrays import answer, submit

GOLDEN = Path(__file__).parents[3] / "golden" / "batch" / "htcondor"
SYSTEM = HTCondorSystem()
HOSTILE = 'it\'s $(touch broken) "a"; `b` & <c> *'

FULL = replace(
    arrays.FULL,
    queue="nowhere",
    account="group_belle2.calib",
    universe="vanilla",
    getenv="HOME, PATH",
    path_prefix="/export",
    extra_lines=('+JobFlavour = "longlunch"', "Requirements = HasCVMFS"),
    environment={"A": "x y"},
)

DOWN = "\n-- Failed to fetch ads from: <127.0.0.1:45903> : here\nCEDAR:6001:Failed to connect to <127.0.0.1:45903>"
CANCELLED, EXITED = JobState.CANCELLED, JobState.EXITED
NO_HISTORY = "Error: No passed search file and configuration key HISTORY is unset.\n"


def make_array(name: str = "caf_a", elements: int = 3, **changes: Any) -> ArraySpec:
    values = {
        "folder": f"/w/{HOSTILE}/out/arrays/0",
        "input_folder": f"/w/{HOSTILE}/in",
        "output_folder": f"/w/{HOSTILE}/out",
        "status_folder": f"/w/{HOSTILE}/out/status",
        "app": f"/w/{HOSTILE}/app.pyz",
    }
    return arrays.make_array(name, elements, **{**values, **changes})


def make_travelling(*inputs: tuple[str, ...], **changes: Any) -> ArraySpec:
    return make_array(elements=len(inputs), inputs=inputs, resources=Resources(transfer_files=True), **changes)


def submitted(number: int, elements: int = 3, **resources: Any) -> SubmittedArray:
    array = make_array(f"caf_{number}", elements, resources=Resources(**resources))
    return submit(array, str(number))


def ask(text: str, *arrays: SubmittedArray) -> Answer:
    (query,) = SYSTEM.build_query(arrays)
    return SYSTEM.parse_query(query, answer(text))


def read_one(**ad: Any) -> Native:
    text = json.dumps([{"ClusterId": 5, "ProcId": 0, **ad}])
    return ask(text, submitted(5, 1, walltime=60)).elements["caf_5"][0]


def get_submit_file(array: ArraySpec) -> str:
    return next(file.text for file in SYSTEM.build_submit(array).files if file.path.endswith("array.sub"))


def test_it_is_found_by_its_name() -> None:
    assert isinstance(load_system("HTCondor"), HTCondorSystem)


@pytest.mark.parametrize(
    ("golden", "array"),
    [
        ("bare", make_array()),
        ("full", make_array("caf_cal-x.y_hits_i0_a0_05a9b63281", resources=FULL)),
        ("travel", make_travelling(("/w/in/00000.json", "/data/a b/$x.root"), ("/w/in/00001.json", "/w/db"))),
    ],
)
def test_the_files_of_a_submission(golden: str, array: ArraySpec) -> None:
    submission = SYSTEM.build_submit(array)
    assert submission.command.argv == ("condor_submit", "-terse", f"{array.folder}/array.sub")
    for file in submission.files:
        name = file.path.removeprefix(f"{array.folder}/")
        assert file.text == (GOLDEN / f"{golden}.{name}").read_text(), name
        assert file.executable == (name == "run.sh")


def test_the_commands() -> None:
    arrays = [submitted(5, 10), submitted(6, 20)]
    commands = [
        SYSTEM.build_lookup(arrays[0].array),
        *(query.command for query in SYSTEM.build_query(arrays)),
        *(query.command for query in SYSTEM.build_history(arrays)),
        *SYSTEM.build_cancel(arrays[0], None),
        *SYSTEM.build_cancel(arrays[0], [0, 7]),
        *SYSTEM.build_release(arrays[0], [3]),
    ]
    text = "".join(json.dumps(command.argv) + "\n" for command in commands)
    assert text == (GOLDEN / "commands.txt").read_text()
    assert all(command.timeout < 600 for command in commands)


def test_a_thousand_arrays_need_one_query_and_more_are_cut() -> None:
    assert len(SYSTEM.build_query([submitted(number) for number in range(1000)])) == 1
    arrays = [submitted(10_000_000 + number) for number in range(1001)]
    queries = SYSTEM.build_query(arrays)
    assert [len(query.arrays) for query in queries] == [1000, 1]
    assert all(len(" ".join(query.command.argv)) < 100_000 for query in queries)
    large = submitted(10_000_000, 10_000)
    words = [command.argv for command in SYSTEM.build_cancel(large, range(2500))]
    assert [len(argv) for argv in words] == [1001, 1001, 501]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folder": "/w/$$(x)"}, "script '/w/\\$\\$\\(x\\)/run.sh' cannot be said"),
        ({"folder": "/w/a\nqueue 5"}, "cannot be said"),
        ({"resources": Resources(account="a$$b")}, "account 'a\\$\\$b' cannot be said"),
        ({"resources": Resources(getenv="a\\")}, "getenv 'a.*' cannot be said"),
        ({"resources": Resources(extra_lines=("Queue 5",))}, "would change what is queued"),
        ({"resources": Resources(extra_lines=("x = 1 \\",))}, "would change what is queued"),
        ({"resources": Resources(transfer_files=True)}, "has 3 elements and the inputs of 0"),
    ],
)
def test_what_a_submit_file_cannot_say_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        SYSTEM.build_submit(make_array(**changes))


@pytest.mark.parametrize("path", ["/w/a,b", "a", "/w/x ", "/w/$$x", "/w/x\\"])
def test_what_cannot_travel_is_refused(path: str) -> None:
    with pytest.raises(DefinitionError):
        SYSTEM.build_submit(make_travelling((path,)))


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
def test_a_folder_is_one_value_of_one_line_or_refused(name: str) -> None:
    array = make_array(folder=f"/w/{name}/0")
    try:
        text = get_submit_file(array)
    except DefinitionError:
        assert "$$" in name
        return
    line = next(line for line in text.split("\n") if line.startswith("initialdir = "))
    value = line.removeprefix("initialdir = ")
    assert value.replace("$(DOLLAR)", "$") == array.folder
    assert "$" not in value.replace("$(DOLLAR)", "")


@pytest.mark.parametrize("throttle", [1, 2, 3, 7, 50, 1000])
def test_a_throttle_lets_in_so_many_and_no_more(throttle: int) -> None:
    text = get_submit_file(make_array(resources=Resources(throttle=throttle)))
    share = int(text.partition("concurrency_limits = caf_a:")[2].partition("\n")[0])
    assert 2_308_032 // share == throttle


def test_nothing_stays_in_the_queue_where_processes_are_made_late() -> None:
    assert "leave_in_queue" in get_submit_file(make_array())
    late = Resources(extra_lines=("Max_Idle = 100",))
    assert "leave_in_queue" not in get_submit_file(make_array(resources=late))


@pytest.mark.parametrize(
    ("stdout", "exit_code"),
    [("12.0 - 12.2\n", 0), ("WARNING: x\n12.0 - 12.2\n", 0), ("12.0 - 12.2\n", -11), ("12.0 - 12.2\n", 139)],
)
def test_the_id_counts_whatever_the_exit_code(stdout: str, exit_code: int) -> None:
    assert SYSTEM.parse_submit(make_array(), answer(stdout, exit_code=exit_code)) == ("12",)


@pytest.mark.parametrize(
    ("stdout", "stderr", "exit_code", "said"),
    [
        ("", "", 0, "it printed nothing"),
        ("Submitting job(s)", "ERROR: Parse error in expression", 1, "Parse error in expression"),
        ("Submitting job(s)", f"\nERROR: Failed to connect to local queue manager\n{DOWN}", 1, "Failed to connect"),
        # Not as many as there are elements, or two clusters: whatever it is, it is not ours alone.
        ("12.0 - 12.1\n", "", 0, r"12\.0 - 12\.1"),
        ("12.0 - 12.2\n13.0 - 13.2\n", "", 0, r"13\.0"),
        ("12.0 - 13.2\n", "", 0, r"13\.2"),
    ],
)
def test_a_refused_submission(stdout: str, stderr: str, exit_code: int, said: str) -> None:
    with pytest.raises(SubmitError, match=said):
        SYSTEM.parse_submit(make_array(), answer(stdout, stderr, exit_code))


COMMIT = "\nERROR: Failed to commit job submission into the queue.\n"


@pytest.mark.parametrize(
    ("stderr", "refused"),
    [
        (f"{COMMIT}ERROR: Submit requirement Memory not met.\n", True),
        ("\nERROR: Failed to create proc\nNumber of submitted jobs would exceed MAX_JOBS_PER_OWNER\n", True),
        # The connection broke while it was committed: it may be in the queue.
        (COMMIT, False),
        (f"\nERROR: Failed to connect to local queue manager\n{DOWN}", False),
    ],
)
def test_what_was_not_answered_is_not_refused(stderr: str, refused: bool) -> None:
    with pytest.raises(SubmitError) as caught:
        SYSTEM.parse_submit(make_array(), answer("", stderr, 1))
    assert isinstance(caught.value, SubmitRefused) == refused


@pytest.mark.parametrize(
    ("stdout", "stderr", "exit_code", "ids"),
    [
        ("history\nnewest\n4\n", "", 0, ()),
        ("5\n5\n5\nhistory\nnewest\n4\n", "", 0, (("5",),)),
        ("5\n5\nhistory\n5\nnewest\n5\n", "", 0, (("5",),)),
        ("history\n12\n5\nnewest\n12\n", "", 0, (("5",), ("12",))),
        ("5\nhistory\n", NO_HISTORY, 1, (("5",),)),
        ("5\nhistory\nnewest\n", "", 0, (("5",),)),
    ],
)
def test_lookup(stdout: str, stderr: str, exit_code: int, ids: tuple[tuple[str, ...], ...]) -> None:
    assert SYSTEM.parse_lookup(make_array(), answer(stdout, stderr, exit_code)) == ids


@pytest.mark.parametrize(("lines", "remembers"), [((), 900), (("max_idle = 100",), 0)])
def test_a_lookup_without_history_finds_the_queue_only(lines: tuple[str, ...], remembers: float) -> None:
    """What is over stays in the queue for a quarter of an hour, unless processes are made late."""
    array = make_array(resources=Resources(extra_lines=lines))
    with pytest.raises(SubmitUnknown, match="keeps no history here") as caught:
        SYSTEM.parse_lookup(array, answer("history\n", NO_HISTORY, 1))
    assert caught.value.remembers == remembers
    # A history that is not on this machine, or that may not be read, looks like one without any job.
    with pytest.raises(SubmitUnknown, match="condor_history shows nothing at all here") as caught:
        SYSTEM.parse_lookup(array, answer("history\nnewest\n", "", 0))
    assert caught.value.remembers == remembers


# The texts are those of `schedd.cpp`, `user_job_policy.cpp`, `rm.cpp`, `baseshadow.cpp` and of rules of sites.
@pytest.mark.parametrize(
    ("reason", "numbers", "state", "memory"),
    [
        ("via condor_rm (by user alice)", {}, CANCELLED, None),
        ("via condor_rm -forcex (by user root)", {}, CANCELLED, None),
        ("too much memory used (by user alice@example.org)", {}, CANCELLED, None),
        ("Python-initiated action. (by user alice)", {}, CANCELLED, None),
        (
            "removed because <OtherJobRemoveRequirements = DAGManJobId =?= 7> fired when job (7.0) was removed",
            {},
            CANCELLED,
            None,
        ),
        ("Job removed: it was in the hold state for 24 hours", {}, EXITED, None),
        ("Removed due to wall clock limit", {"ResidentSetSize": 4096000, "RequestMemory": 1000}, EXITED, None),
        ("Removed due to memory use", {}, EXITED, "Removed due to memory use"),
        ("The system macro SYSTEM_PERIODIC_REMOVE expression 'x' evaluated to TRUE", {}, EXITED, None),
        (
            "Site policy 17",
            {"ResidentSetSize": 1024000, "RequestMemory": 1000},
            EXITED,
            "it used 1000 MB of 1000: Site policy 17",
        ),
        ("Site policy 17", {"ResidentSetSize": 1023999, "RequestMemory": 1000}, EXITED, None),
        ("Site policy 17", {"ResidentSetSize": 99, "RequestMemory": "/Expr(MemoryUsage)/"}, EXITED, None),
        ("Job lease expired", {}, EXITED, None),
        ("Staging of job files failed", {}, EXITED, None),
        ("removed for overuse (by user policy) of the site", {}, EXITED, None),
    ],
)
def test_a_person_cancels_and_a_rule_fails(
    reason: str, numbers: dict[str, Any], state: JobState, memory: str | None
) -> None:
    ad = {"ClusterId": 5, "ProcId": 0, "JobStatus": 3, "RemoveReason": reason, **numbers}
    native = ask(json.dumps([ad]), submitted(5, 1)).elements["caf_5"][0]
    assert (SYSTEM.states[native.code], native.reason) == (state, memory or reason)
    assert native.out_of_memory is (memory is not None)


@pytest.mark.parametrize(
    ("stdout", "stderr", "exit_code"),
    [
        ("", DOWN, 1),
        ("", "", 0),
        ("5\n", DOWN, 1),
        ("history\n", "Error: cannot read the history", 1),
        ("history\n", "", 0),
        ("history\n", "Error opening history file /spool/history: Permission denied", 1),
        ("history\nnewest\n", "Error opening history file /spool/history: Permission denied", 1),
        ("<html>\nhistory\nnewest\n4\n", "", 0),
        ("undefined\nhistory\nnewest\n4\n", "", 0),
    ],
)
def test_a_lookup_that_says_nothing_is_not_none(stdout: str, stderr: str, exit_code: int) -> None:
    with pytest.raises(SubmitError, match="It is not known"):
        SYSTEM.parse_lookup(make_array(), answer(stdout, stderr, exit_code))


def test_a_running_array() -> None:
    answered = ask((GOLDEN / "q_running.txt").read_text(), submitted(5, 6))
    assert answered.problems == {}
    assert answered.elements == {"caf_5": {index: Native(code="RUNNING") for index in range(4)}}


def test_held_jobs_say_why() -> None:
    arrays = [submitted(number, 3) for number in (6, 7, 9, 10, 11, 16, 18, 19)]
    found = ask((GOLDEN / "q_held.txt").read_text(), *arrays).elements
    first = {name: elements[0] for name, elements in found.items()}
    assert [STATES[first[f"caf_{number}"].code] for number in (6, 7, 9, 10, 16, 18)] == [JobState.HELD] * 6
    hopeless = {name for name, native in first.items() if native.is_hopeless}
    assert hopeless == {"caf_6", "caf_9", "caf_10", "caf_16"}
    assert str(first["caf_6"].reason).endswith(
        "Details: reading from file /nonexistent/input.dat: (errno 2) No such file or directory (hold code 13)"
    )
    assert first["caf_7"].reason == "submitted on hold at user's request (hold code 15)"
    assert first["caf_11"] == Native(code="IDLE", reason="no match found")
    assert first["caf_18"].reason == "memory over request (hold code 3)"
    assert {name for name, native in first.items() if native.out_of_memory} == {"caf_18"}
    assert [found["caf_19"][index].exit_code for index in range(3)] == [0, 1, 2]


def test_the_history() -> None:
    arrays = [submitted(5, 4), submitted(3, 1), submitted(9)]
    queries = SYSTEM.build_history(arrays)
    assert len(queries) == 1
    found = SYSTEM.parse_history(queries[0], answer((GOLDEN / "history.txt").read_text())).elements
    assert found["caf_5"][3] == Native(code="COMPLETED", exit_code=3)
    assert found["caf_5"][2] == Native(code="REMOVED", reason="via condor_rm (by user caf)")
    assert found["caf_9"] == {}
    found = SYSTEM.parse_history(queries[0], answer((GOLDEN / "history_signal.txt").read_text())).elements
    assert found["caf_3"] == {0: Native(code="COMPLETED", exit_code=137)}


POLICY = "The job attribute PeriodicRemove expression 'JobStatus == 2 && time() - EnteredCurrentStatus > 60' evaluated"


@pytest.mark.parametrize(
    ("ad", "native"),
    [
        ({"JobStatus": 6}, Native(code="TRANSFERRING_OUTPUT")),
        ({"JobStatus": 7}, Native(code="SUSPENDED")),
        ({"JobStatus": 99}, Native(code="JobStatus 99")),
        ({"JobStatus": 2, "RemoteHost": "slot1_3@node7.site"}, Native(code="RUNNING", host="node7.site")),
        ({"JobStatus": 4, "LastRemoteHost": "node7"}, Native(code="COMPLETED", host="node7")),
        # An attribute can be an expression that nobody has evaluated.
        ({"JobStatus": 4, "ExitCode": "/Expr(x)/"}, Native(code="COMPLETED")),
        ({"JobStatus": 5}, Native(code="HELD", reason="no reason given (hold code None)")),
        # Removed after its end, while it stayed in the queue: it was not cancelled.
        (
            {"JobStatus": 3, "CompletionDate": 17, "ExitCode": 3, "RemoveReason": "via condor_rm"},
            Native(code="COMPLETED", exit_code=3),
        ),
        ({"JobStatus": 3, "CompletionDate": 0}, Native(code="REMOVED")),
        (
            {"JobStatus": 3, "RemoveReason": POLICY},
            Native(code="REMOVED_BY_POLICY", reason=f"it ran longer than its walltime of 60 s: {POLICY}"),
        ),
        (
            {"JobStatus": 3, "RemoveReason": "SYSTEM_PERIODIC_REMOVE: ResidentSetSize > 1000 * RequestMemory"},
            Native(
                code="REMOVED_BY_POLICY",
                reason="SYSTEM_PERIODIC_REMOVE: ResidentSetSize > 1000 * RequestMemory",
                out_of_memory=True,
            ),
        ),
        (
            {"JobStatus": 5, "HoldReason": "Job has gone over its limit", "HoldReasonCode": 34},
            Native(
                code="HELD",
                reason="Job has gone over its limit (hold code 34)",
                is_hopeless=True,
                out_of_memory=True,
            ),
        ),
        (
            {"JobStatus": 5, "HoldReason": "Job has gone over its disk limit", "HoldReasonCode": 34},
            Native(code="HELD", reason="Job has gone over its disk limit (hold code 34)", is_hopeless=True),
        ),
    ],
)
def test_what_is_said_of_one(ad: dict[str, Any], native: Native) -> None:
    assert read_one(**ad) == native


def test_a_transfer_of_outputs_is_no_failure() -> None:
    assert STATES["TRANSFERRING_OUTPUT"] is JobState.TRANSFERRING
    assert STATES["REMOVED_BY_POLICY"] is JobState.EXITED
    assert "JobStatus 99" not in STATES


def test_nothing_printed_means_that_nothing_is_in_the_queue() -> None:
    assert ask("", submitted(5), submitted(6)) == Answer(elements={"caf_5": {}, "caf_6": {}})


def test_what_is_not_made_yet_is_queued() -> None:
    ads = [{"ClusterId": 5, "ProcId": 1, "JobStatus": 2, "JobMaterializeNextProcId": 2}]
    found = ask(json.dumps(ads), submitted(5, 4)).elements["caf_5"]
    assert {index: native.code for index, native in found.items()} == {
        1: "RUNNING",
        2: "UNMATERIALIZED",
        3: "UNMATERIALIZED",
    }
    # In the history the number says nothing of what is not made.
    (query,) = SYSTEM.build_history([submitted(5, 4)])
    assert list(SYSTEM.parse_history(query, answer(json.dumps(ads))).elements["caf_5"]) == [1]


def test_what_is_of_others_is_passed_over() -> None:
    ads = [{"ClusterId": number, "ProcId": index, "JobStatus": 2} for number, index in ((4, 0), (5, 9), (5, 1))]
    assert list(ask(json.dumps(ads), submitted(5, 3)).elements["caf_5"]) == [1]


@pytest.mark.parametrize(
    ("stdout", "stderr", "exit_code"),
    [
        ("", DOWN, 1),
        ("", "", 1),
        ("<html>\n", "", 0),
        ('[\n{\n  "ClusterId": 5,\n  "JobSta', "", 0),
        ("{}", "", 0),
        ("[1]", "", 0),
        ('[{"ClusterId": 5, "ProcId": 0}]', "", 0),
        ('[{"ClusterId": 5, "ProcId": 0, "JobStatus": "2"}]', "", 0),
        ("5", "", 0),
    ],
)
def test_an_answer_that_cannot_be_read_is_an_error(stdout: str, stderr: str, exit_code: int) -> None:
    arrays = [submitted(5)]
    with pytest.raises(PollError, match="did not answer as it should"):
        SYSTEM.parse_query(SYSTEM.build_query(arrays)[0], answer(stdout, stderr, exit_code))
    with pytest.raises(PollError, match="did not answer as it should"):
        SYSTEM.parse_history(SYSTEM.build_history(arrays)[0], answer(stdout, stderr, exit_code))


def test_a_site_without_history_knows_nothing_of_what_is_over() -> None:
    (query,) = SYSTEM.build_history([submitted(5)])
    assert SYSTEM.parse_history(query, answer("[\n", NO_HISTORY, 1)) == Answer(elements={"caf_5": {}})
