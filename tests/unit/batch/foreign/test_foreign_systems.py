"""What each batch system is asked about jobs of somebody else, and how its answers are read. Nothing is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.batch.evidence import JobState
from airflow_provider_caf.batch.foreign import load_foreign
from airflow_provider_caf.batch.foreign.base import Look, Target, Told, check_name, read_targets
from airflow_provider_caf.batch.spec import CommandResult
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.core.errors import DefinitionError, PollError
from tests.unit.batch.arrays import answer

GOLDEN = Path(__file__).parents[3] / "golden" / "batch"
SYSTEMS = ("htcondor", "lsf", "pbs", "slurm", "torque")

GOOD_IDS = {
    "htcondor": {"1234": ("1234", None), "1234.0": ("1234", 0), "007.03": ("7", 3)},
    "lsf": {"4242": ("4242", None), "4242[7]": ("4242", 7)},
    "pbs": {
        "4242": ("4242", None),
        "4242[]": ("4242[]", None),
        "4242[].head.example.org": ("4242[].head.example.org", None),
        "4242[7]": ("4242[]", 7),
        "4242[7].head": ("4242[].head", 7),
        "4242.head": ("4242.head", None),
    },
    "slurm": {
        "4242": ("4242", None),
        "4242_7": ("4242", 7),
        "4242;north": ("4242;north", None),
        "4242_7;north": ("4242;north", 7),
    },
}
GOOD_IDS["torque"] = GOOD_IDS["pbs"]

EVERYWHERE_BAD = (
    *("", " ", "-rf", "-1", "--help", "all", "0x10", "4242 4243", "4242,4243", "4242\n", "\n4242", "4242;", "4242;-x"),
    *("4242;a b", "4242[", "4242]", "4242[1-3]", "4242_[1-3]", "4242_", "4242.", "$(id)", "`id`", "4242;rm -rf /"),
    *("4242[7].he ad", "4242[*]", "٤٢", "4242" * 9, "*", "?", "%"),
)


@pytest.mark.parametrize(("system", "id"), [(name, id) for name in SYSTEMS for id in GOOD_IDS[name]])
def test_an_id_is_read_in_the_form_of_its_system(system: str, id: str) -> None:
    target = load_foreign(system).parse_id(id)
    assert target is not None
    assert (target.job, target.index) == GOOD_IDS[system][id]
    assert load_foreign(system).parse_id(target.text) == target


@pytest.mark.parametrize("system", SYSTEMS)
def test_nothing_else_is_an_id(system: str) -> None:
    others = {id for name in SYSTEMS for id in GOOD_IDS[name]} - set(GOOD_IDS[system])
    foreign = load_foreign(system)
    for id in (*EVERYWHERE_BAD, *others):
        target = foreign.parse_id(id)
        # `4242[]` and such are what they are on another system.
        assert target is None or id in others, id
        assert target is None or not target.text.startswith("-")
    assert load_foreign("lsf").parse_id("4242[0]") is None


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ((), "no id of a job to wait for"),
        ("4242", "The ids are the text '4242'"),
        (("4242", "-rf"), "'-rf' is no id of a job of"),
        (("-rf", "all"), "'-rf', 'all' are no ids of a job of"),
        ((4242,), "4242 is no id"),
        (tuple(f"x{number}" for number in range(30)), "and 20 more are no ids"),
    ],
)
def test_wrong_ids_are_an_error_before_any_command(system: str, ids: Any, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        read_targets(load_foreign(system), ids, system)


def test_an_id_counts_once() -> None:
    assert [each.text for each in read_targets(load_foreign("slurm"), ["7", "7_1", "7", "07"], "slurm")] == ["7", "7_1"]


@pytest.mark.parametrize("name", ["a", "fit_17", "my job v2", "x.y-z+1", "4242", "a:b@c=d/e"])
def test_a_name(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "-rf", "--name", "a*", "a?", "a[1]", "a,b", 'a"b', "a'b", "a\\b", "a\nb", "a%b", "$(id)", "a ", "é"],
)
def test_what_a_command_could_take_for_something_else_is_no_name(name: str) -> None:
    with pytest.raises(DefinitionError, match="cannot be the name of jobs"):
        check_name(name)


def test_the_local_system_has_no_queue_of_others() -> None:
    with pytest.raises(DefinitionError, match="'local' has no queue in which somebody else"):
        load_foreign("local")


def targets(system: str, *ids: str) -> tuple[Target, ...]:
    return read_targets(load_foreign(system), ids, system)


def ask(system: str, result: CommandResult, *ids: str, history: bool = False) -> Told:
    """Give what the one question about some ids brings."""
    foreign = load_foreign(system)
    if history:
        (look,) = foreign.build_history(targets(system, *ids))
        return foreign.parse_history(look, result)
    (look,) = foreign.build_query(targets(system, *ids))
    return foreign.parse_query(look, result)


def show(told: Told) -> dict[str, tuple[str, int | None]]:
    return {each.id: (each.native.code, each.native.exit_code) for each in told.glimpses}


def argvs(looks: tuple[Look, ...]) -> list[tuple[str, ...]]:
    return [look.command.argv for look in looks]


# squeue -h -r -t all -O JobID:16,ArrayJobID:16,ArrayTaskID:16,State:24,exit_code:16,BatchHost:64,Reason:96 of Slurm
# 22.05.8, and sacct -X -n -P -o JobIDRaw,JobID,State,ExitCode,NodeList of the same jobs.
def build_line(number: int, job: int, index: str, state: str, status: int = 0, reason: str = "None") -> str:
    return f"{number:<16}{job:<16}{index:<16}{state:<24}{status:<16}{'vm':<64}{reason:<96}\n"


SQUEUE = (
    build_line(1, 1, "N/A", "COMPLETED")
    + build_line(6, 3, "2", "COMPLETED")
    + build_line(2, 2, "N/A", "FAILED", 768, "NonZeroExitCode")
    + build_line(7, 3, "3", "FAILED", 256, "NonZeroExitCode")
    + build_line(5, 5, "2", "PENDING", 0, "JobArrayTaskLimit")
    + build_line(4, 4, "N/A", "PENDING", 0, "JobHeldUser")
    + build_line(3, 3, "5", "RUNNING")
)
SACCT = (
    "1|1|COMPLETED|0:0|vm\n2|2|FAILED|3:0|vm\n4|4|CANCELLED by 0|0:0|None assigned\n6|3_2|COMPLETED|0:0|vm\n"
    "7|3_3|FAILED|1:0|vm\n3|3_5|RUNNING|0:0|vm\n9|5_1|CANCELLED by 0|0:0|vm\n"
    "5|5_[2-3%1]|CANCELLED by 0|0:0|None assigned\n5|5|CANCELLED by 0|0:0|None assigned\n"
)


def test_slurm_shows_plain_jobs_and_elements() -> None:
    told = ask("slurm", answer(SQUEUE), "1", "2", "3", "4", "5")
    assert show(told) == {
        "1": ("COMPLETED", 0),
        "3_2": ("COMPLETED", 0),
        "2": ("FAILED", 3),
        "3_3": ("FAILED", 1),
        "5_2": ("PENDING", None),
        "4": ("PENDING_HELD", None),
        "3_5": ("RUNNING", None),
    }
    assert {each.id: each.number for each in told.glimpses}["3_3"] == "7"
    assert ask("slurm", answer("", "slurm_load_jobs error: Invalid job id specified", 1), "9").glimpses == ()
    for result in (answer(SQUEUE[:-10]), answer("", "slurm_load_jobs error: Unable to contact slurm controller", 1)):
        with pytest.raises(PollError, match="squeue"):
            ask("slurm", result, "1")


def test_slurms_history_tells_what_is_over_and_what_never_started() -> None:
    told = ask("slurm", answer(SACCT), "1", "2", "3_3", "4", "5", history=True)
    assert show(told) == {
        "1": ("COMPLETED", 0),
        "2": ("FAILED", None),
        "4": ("CANCELLED", None),
        "3_2": ("COMPLETED", 0),
        "3_3": ("FAILED", None),
        "5_1": ("CANCELLED", None),
        "5_2": ("CANCELLED", None),
        "5_3": ("CANCELLED", None),
    }
    assert ask("slurm", answer("", "Slurm accounting storage is disabled", 1), "1", history=True) == Told(
        has_history=False
    )
    with pytest.raises(PollError, match="sacct"):
        ask("slurm", answer("", "sacct: error: Problem talking to the database", 0), "1", history=True)


def test_slurm_is_asked_once_for_each_cluster_and_for_some_thousand_jobs() -> None:
    foreign = load_foreign("slurm")
    asked = targets("slurm", "7", "7_3;north", *(str(number) for number in range(100, 7100)))
    looks = foreign.build_query(asked)
    assert [len(look.targets) for look in looks] == [6000, 1001, 1]
    assert looks[2].command.argv[:3] == ("squeue", "-M", "north")
    assert looks[2].command.argv[-1] == "7_3"
    assert [argv[-1] for argv in argvs(foreign.build_history(targets("slurm", "7_1", "7_2", "8")))] == ["7,8"]
    told = foreign.parse_query(looks[2], answer(build_line(9, 7, "3", "RUNNING")))
    assert [(each.id, each.job) for each in told.glimpses] == [("7_3;north", "7;north")]
    assert all(len(argv[-1]) < 128_000 for argv in argvs(foreign.build_query(targets("slurm", *WORST_OF_SLURM))))


WORST_OF_SLURM = tuple(f"{10**9 + number}_3999999" for number in range(6001))


def test_slurm_ends_elements_that_wait_after_holding_them() -> None:
    commands = load_foreign("slurm").build_cancel(targets("slurm", "7", "8_1", "9;north"))
    assert [command.argv for command in commands] == [
        ("scontrol", "hold", "8_1"),
        ("scancel", "7", "8_1"),
        ("scancel", "-M", "north", "9"),
    ]
    with pytest.raises(PollError, match="The jobs 7 could not be cancelled"):
        load_foreign("slurm").parse_cancel(answer("", "scancel: error: Access denied", 1, ("scancel", "7")))


def ads(*records: dict[str, Any]) -> CommandResult:
    return answer(json.dumps([{"ClusterId": 5, "JobStatus": 2, **each} for each in records]))


def test_htcondor_says_how_many_there_are() -> None:
    told = ask("htcondor", ads({"ProcId": 1, "TotalSubmitProcs": 4}), "5")
    assert (show(told), told.counts) == ({"5.1": ("RUNNING", None)}, {"5": 4})
    late = ask("htcondor", ads({"ProcId": 0, "TotalSubmitProcs": 3, "JobMaterializeNextProcId": 1}), "5")
    assert [each.native.code for each in late.glimpses] == ["RUNNING", "UNMATERIALIZED", "UNMATERIALIZED"]
    assert ask("htcondor", ads({"ProcId": 0, "TotalSubmitProcs": 10**9}), "5").counts == {}
    assert ask("htcondor", answer(""), "5") == Told()
    for result in (answer("", "Failed to connect", 1), answer("[{"), answer('[{"ClusterId": 5}]')):
        with pytest.raises(PollError, match="The queue of HTCondor"):
            ask("htcondor", result, "5")


def test_the_history_of_htcondor_is_read_no_further_than_it_has_to_be() -> None:
    foreign = load_foreign("htcondor")
    whole, single = argvs(foreign.build_history(targets("htcondor", "5", "6.1", "6.2")))
    assert whole[:2] == ("condor_history", "5")
    assert "-limit" not in whole
    assert single[:5] == ("condor_history", "6.1", "6.2", "-limit", "2")
    done = {"ProcId": 1, "JobStatus": 4, "ExitCode": 0, "CompletionDate": 1, "TotalSubmitProcs": 2}
    assert show(ask("htcondor", ads(done), "5", history=True)) == {"5.1": ("COMPLETED", 0)}
    assert ask("htcondor", answer("[", "configuration key HISTORY is unset", 1), "5", history=True) == Told(
        has_history=False
    )
    with pytest.raises(PollError, match="The history of HTCondor"):
        ask("htcondor", answer("", "no permission", 1), "5", history=True)


def test_the_ids_of_many_processes_are_cut() -> None:
    foreign = load_foreign("htcondor")
    many = targets("htcondor", *(f"5.{number}" for number in range(1500)), "6")
    assert [len(look.targets) for look in foreign.build_query(many)] == [1000, 501]
    assert [argv.argv[:2] for argv in foreign.build_cancel(many)] == [
        ("condor_rm", "-totals"),
        ("condor_rm", "5.0"),
        ("condor_rm", "5.1000"),
    ]
    with pytest.raises(PollError, match=r"The jobs 5\.1 could not be cancelled"):
        foreign.parse_cancel(answer("", "Permission denied to remove job 5.1", 1, ("condor_rm", "5.1")))


def read_golden(name: str) -> CommandResult:
    return answer((GOLDEN / name).read_text())


def test_pbs_shows_the_elements_of_an_array_and_one_alone() -> None:
    finished = read_golden("pbs/qstat_finished.txt")
    expected = {
        "4[0].pbshost": ("F", 0),
        "4[1].pbshost": ("F", 1),
        "4[2].pbshost": ("F91", None),
        "4[3].pbshost": ("F", 3),
    }
    assert show(ask("pbs", finished, "4[]")) == expected
    (look,) = load_foreign("pbs").build_query(targets("pbs", "4[1]", "4[2]"))
    assert look.command.argv == ("qstat", "-x", "-f", "4[]", "4[1]", "4[2]")
    told = ask("pbs", read_golden("pbs/qstat_held.txt"), "5[1]")
    # A held array shows its elements as queued.
    assert {each.id: each.native.code for each in told.glimpses} == {"5[0].pbshost": "H", "5[1].pbshost": "H"}


def test_pbs_says_in_words_that_a_job_is_not_there() -> None:
    gone = answer("", "qstat: Unknown Job Id 4711\n", 153)
    assert ask("pbs", gone, "4711") == Told()
    told = ask("pbs", gone, "4711", "4712.far")
    assert [each.text for each in told.problems] == ["4712.far"]
    no_history = answer("", "qstat: PBS is not configured to maintain job history 4711\n")
    assert ask("pbs", no_history, "4711") == Told()
    assert list(ask("pbs", answer("", "Connection refused", 255), "4711").problems)
    with pytest.raises(PollError, match="cut off"):
        ask("pbs", answer("Job Id: 4711.pbshost\n"), "4711")


def test_without_a_history_pbs_does_not_say_how_an_element_ended() -> None:
    text = (
        "Job Id: 4[].pbshost\n    job_state = B\n\nJob Id: 4[0].pbshost\n    job_state = X\n    substate = 92\n"
        "    Exit_status = 0\n    comment = Subjob finished\n\n"
    )
    assert show(ask("pbs", answer(text), "4[]", history=True)) == {"4[0].pbshost": ("X", None)}
    assert show(ask("pbs", answer(text), "4[]")) == {"4[0].pbshost": ("X91", None)}


@pytest.mark.parametrize(
    ("asked", "found", "is_it"),
    [
        ("4", "4.pbshost", True),
        ("4.pbshost", "4.pbshost.example.org", True),
        ("4.pbs", "4.pbshost", False),
        ("4.far", "4.pbshost", False),
        ("4", "4[].pbshost", False),
        ("4[]", "4[].pbshost", True),
        ("4", "44.pbshost", False),
    ],
)
def test_a_server_may_be_named_in_short(asked: str, found: str, is_it: bool) -> None:
    (target,) = targets("pbs", asked)
    assert load_foreign("pbs").covers(target, found, None, "") is is_it


def test_torque_shows_the_exit_status_where_it_is_torque() -> None:
    told = ask("torque", read_golden("torque/qstat_array.txt"), "4[]")
    assert show(told)["4[0].head.example.org"] == ("C", 0)
    assert show(told)["4[2].head.example.org"] == ("C271", None)
    over_slurm = ask("torque", read_golden("torque/qstat_over_slurm.txt"), "5518")
    assert show(over_slurm)["5518"] == ("C", None)
    assert load_foreign("torque").build_history(targets("torque", "4[]")) == ()
    assert argvs(load_foreign("torque").build_query(targets("torque", "4"))) == [("qstat", "-f", "4")]
    assert argvs(load_foreign("torque").build_query(targets("torque", "4[1]", "5"))) == [
        ("qstat", "-f", "-t", "4[1]", "5")
    ]


@pytest.mark.parametrize("system", ["pbs", "torque"])
def test_qdel_takes_all_ids(system: str) -> None:
    foreign = load_foreign(system)
    assert [each.argv for each in foreign.build_cancel(targets(system, "4[]", "5[1].far"))] == [
        ("qdel", "4[]", "5[1].far")
    ]
    foreign.parse_cancel(answer("", "qdel: Unknown Job Id 4[]\n", 153, ("qdel", "4[]")))
    with pytest.raises(PollError, match=r"The jobs 4\[\] could not be cancelled"):
        foreign.parse_cancel(answer("", "qdel: Unauthorized Request  4[]\n", 159, ("qdel", "4[]")))


def test_lsf_shows_plain_jobs_elements_and_what_it_does_not_know() -> None:
    records = [
        {"JOBID": "5", "JOBINDEX": "2", "STAT": "DONE"},
        {"JOBID": "5", "JOBINDEX": "3", "STAT": "EXIT", "EXIT_CODE": "3"},
        {"JOBID": "6", "JOBINDEX": "0", "STAT": "RUN", "EXEC_HOST": "vm"},
        {"JOBID": "5", "ERROR": "Job <5[77]> is not found"},
    ]
    told = ask("lsf", answer(json.dumps({"RECORDS": records})), "5", "5[77]", "6")
    assert show(told) == {"5[2]": ("DONE", 0), "5[3]": ("EXIT", 3), "6": ("RUN", None)}
    assert told.problems == {}
    assert ask("lsf", read_golden("lsf/bjobs_one_unknown.json"), "3", "4711").problems == {}
    silent = ask("lsf", read_golden("lsf/bjobs_one_unknown.json"), "3", "4712")
    assert [each.text for each in silent.problems] == ["4712"]
    ill = [{"JOBID": "5", "ERROR": "Internal error"}, {"JOBID": "6"}]
    assert set(ask("lsf", answer(json.dumps({"RECORDS": ill})), "5", "6").problems) == set(targets("lsf", "5", "6"))
    assert ask("lsf", answer("", "Job <5[77]> is not found\n", 255), "5[77]") == Told()
    with pytest.raises(PollError, match="bjobs gave no answer"):
        ask("lsf", answer("", "LSF daemon (LIM) not responding ... still trying\n", 255), "5")


def test_the_history_of_lsf_is_asked_for_whole_jobs() -> None:
    foreign = load_foreign("lsf")
    assert argvs(foreign.build_history(targets("lsf", "5[3]", "5[4]", "6"))) == [("bhist", "-l", "-n", "0", "5", "6")]
    assert show(ask("lsf", read_golden("lsf/bhist_exit.txt"), "5[3]", history=True)) == {"5[3]": ("EXIT", 3)}
    assert ask("lsf", answer("No matching job found\n", "", 255), "5", history=True) == Told()
    with pytest.raises(PollError, match="bhist gave no answer"):
        ask("lsf", answer("", "lsb.events: Permission denied", 255), "5", history=True)
    assert [each.argv for each in foreign.build_cancel(targets("lsf", "5[3]", "6"))] == [("bkill", "5[3]", "6")]
    with pytest.raises(PollError, match=r"The jobs 6 could not be cancelled"):
        foreign.parse_cancel(answer("", "Job <6>: User permission denied", 255, ("bkill", "6")))


FOUND = {
    "htcondor": answer("7\n7\nhistory\n5\nnewest\n9\n"),
    "lsf": answer('{"RECORDS": [{"JOBID": "7", "JOB_NAME": "fit[1]"}, {"JOBID": "5", "JOB_NAME": "fit"}]}\n'
                  "\nexit code of bjobs: 0\nNo matching job found\n"),
    "pbs": answer("7[].pbshost\n5.pbshost\n7[].pbshost\n"),
    "slurm": answer("7\n7\nsqueue 0\n5\n7_[1-2]\nsacct 0\n"),
    "torque": answer(
        "root\nJob Id: 7[1].h\n    Job_Name = fit-1\n    Job_Owner = root@h\n    job_state = R\n\n"
        "Job Id: 5.h\n    Job_Name = fit\n    Job_Owner = root@h\n    job_state = R\n\n"
        "Job Id: 6.h\n    Job_Name = fit\n    Job_Owner = other@h\n    job_state = R\n\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_name_is_found_in_queue_and_history(system: str) -> None:
    foreign = load_foreign(system)
    command = foreign.build_find("fit")
    # The name is never text of a shell.
    assert command.argv[:2] == ("/bin/sh", "-c")
    assert "fit" not in command.argv[2]
    ids = foreign.parse_find("fit", FOUND[system])
    assert sorted(id.partition("[")[0].partition(".")[0] for id in ids) == ["5", "7"]
    assert all(foreign.parse_id(id) for id in ids)
    for result in (answer("", "no server", 1), answer("<html>\n"), answer("", "", 127)):
        with pytest.raises(PollError, match="It is not known whether there are jobs named 'fit'"):
            foreign.parse_find("fit", result)


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_word_of_success_is_one_of_its_system(system: str) -> None:
    states = load_system(system).states
    assert all(states[code] is JobState.EXITED for code in load_foreign(system).good)
