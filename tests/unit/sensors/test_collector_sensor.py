"""The sensors, over real subjobs of the local system. Only Airflow's context is a stand-in."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowRuntimeError,
    AirflowSensorTimeout,
    AirflowSkipException,
    ErrorType,
    TaskDeferralError,
    TaskDeferred,
)
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_provider_caf.batch.verdicts import SubjobStatus, Verdict
from airflow_provider_caf.core.errors import PollError
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.operators.waiting import Look
from airflow_provider_caf.sensors.collector import CollectorJobSensor
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.triggers import batch as trigger_module
from airflow_provider_caf.triggers.batch import BatchJobTrigger
from tests.unit.store import Store
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.unit.conftest import Lab


@pytest.fixture
def context(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", str(lab.run.work_dir))
    monkeypatch.setenv("AIRFLOW__CAF__POLL_INTERVAL_MIN", "0.05")
    monkeypatch.setenv("AIRFLOW__CAF__POLL_INTERVAL_MAX", "0.1")
    ti = SimpleNamespace(dag_id=lab.run.dag_id, run_id=lab.run.run_id, rescheduled=None, try_number=1, max_tries=2)
    ti.get_first_reschedule_date = lambda _: ti.rescheduled
    return {"ti": ti, "task_state_store": Store()}


def make_sensor(cls: type[CollectorJobSensor] = CollectorJobSensor, **words: Any) -> CollectorJobSensor:
    return cls(task_id="wait", calibration="vertex", iteration=0, collection="default", **words)


def set_up(lab: Lab, words: list[str] | None = None, jobs: int = 1) -> None:
    lab.prepare(lab.calibration(collections={"default": lab.copies(words, max_collector_jobs=jobs)}))
    lab.submit()


def build_gate(lab: Lab, gate: Path) -> list[str]:
    """Give a command that waits for a file and then copies."""
    script = 'until [ -e "$1" ]; do sleep 0.05; done; cp "$2" CollectorOutput.root'
    return ["bash", "-c", script, "-", str(gate), str(lab.files.collected[0])]


@pytest.fixture
def looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a file that is there when a sensor has looked: what failed before counts as a try of an earlier wait."""
    file = tmp_path / "looked"
    look = CollectorJobSensor.look

    def look_and_tell(self: CollectorJobSensor, *words: Any) -> Look:
        seen = look(self, *words)
        file.touch()
        return seen

    monkeypatch.setattr(CollectorJobSensor, "look", look_and_tell)
    return file


def build_failure(looked: Path) -> list[str]:
    """Give a command that fails when a sensor has looked."""
    script = 'until [ -e "$1" ]; do sleep 0.02; done; echo no licence >&2; exit 3'
    return ["bash", "-c", script, "-", str(looked)]


def list_attempts(lab: Lab) -> list[tuple[int, int]]:
    return sorted((each.subjob, each.attempt) for each in lab.open().read_attempts())


def test_it_returns_when_all_are_done_and_does_not_defer(lab: Lab, context: dict[str, Any]) -> None:
    set_up(lab, jobs=2)
    result = make_sensor().execute(context)  # type: ignore[arg-type]
    assert result == {"subjobs": 2, "array_ids": lab.open().list_array_ids(), "failed": 0}
    assert list_attempts(lab) == [(0, 0), (1, 0)]


@pytest.mark.parametrize("deferrable", [True, False])
def test_failed_subjobs_run_again_and_only_those(
    lab: Lab, context: dict[str, Any], tmp_path: Path, deferrable: bool
) -> None:
    script = 'if [ "$1" = 1 ] && mkdir "$2"; then exit 3; fi; cp "$3" CollectorOutput.root'
    set_up(lab, ["bash", "-c", script, "-", "{subjob}", str(tmp_path / "first"), str(lab.files.collected[0])], jobs=2)
    result = make_sensor(deferrable=deferrable, poke_interval=0.05).execute(context)  # type: ignore[arg-type]
    assert result["subjobs"] == 2
    assert len(result["array_ids"]) == 2
    assert list_attempts(lab) == [(0, 0), (1, 0), (1, 1)]


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_task_fails_for_good_when_the_tries_are_spent(
    lab: Lab, context: dict[str, Any], looked: Path, deferrable: bool
) -> None:
    set_up(lab, build_failure(looked))
    sensor = make_sensor(max_subjob_retries=1, deferrable=deferrable, poke_interval=0.05)
    with pytest.raises(AirflowFailException) as caught:
        sensor.execute(context)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "1 of 1 subjobs of collection 'default' in calibration 'vertex', iteration 0, failed." in text
    assert "exit code 3" in text
    assert "no licence" in text
    assert "clear this task" in text
    assert list_attempts(lab) == [(0, 0), (0, 1)]


def test_a_cleared_task_gives_all_tries_once_more(lab: Lab, context: dict[str, Any], looked: Path) -> None:
    set_up(lab, build_failure(looked))
    for last in (1, 3):
        with pytest.raises(AirflowFailException):
            make_sensor(max_subjob_retries=1).execute(context)  # type: ignore[arg-type]
        assert list_attempts(lab)[-1] == (0, last)


def test_clearing_from_the_submission_on_gives_all_tries_once_more(
    lab: Lab, context: dict[str, Any], looked: Path
) -> None:
    """The sensor then meets a try that runs already; those before it do not count any more."""
    set_up(lab, build_failure(looked))
    for last in (1, 3):
        with pytest.raises(AirflowFailException):
            make_sensor(max_subjob_retries=1).execute(context)  # type: ignore[arg-type]
        assert list_attempts(lab)[-1] == (0, last)
        looked.unlink()
        lab.submit()
    looked.touch()
    run = lab.open()
    lab.wait(run)


def test_a_rescheduled_sensor_counts_the_tries_too(lab: Lab, context: dict[str, Any]) -> None:
    """In this mode Airflow calls `execute` anew for every look; that is no reason to try for ever."""
    set_up(lab, ["bash", "-c", "exit 3"])
    for _ in range(9):
        sensor = make_sensor(max_subjob_retries=1, deferrable=False, mode="reschedule", poke_interval=0.0)
        try:
            sensor.execute(context)  # type: ignore[arg-type]
        except AirflowRescheduleException as wait:
            context["ti"].rescheduled = wait.reschedule_date
            context["task_reschedule_count"] = context.get("task_reschedule_count", 0) + 1
            lab.wait(lab.open())
        except AirflowFailException:
            break
    else:
        pytest.fail("it tries for ever")
    assert list_attempts(lab)[-1][1] <= 2


def test_it_defers_while_subjobs_run_and_goes_on_afterwards(
    lab: Lab, context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CAF__DEFER_AFTER", "0")
    monkeypatch.setattr(trigger_module, "_HOLD_BACK", 0.0)
    gate = tmp_path / "gate"
    set_up(lab, build_gate(lab, gate))
    with pytest.raises(TaskDeferred) as caught:
        make_sensor().execute(context)  # type: ignore[arg-type]
    assert caught.value.method_name == "execute_complete"
    trigger = caught.value.trigger
    assert isinstance(trigger, BatchJobTrigger)
    assert trigger.calibration_folder == str(lab.layout().folder)
    assert (trigger.iteration, trigger.collection, trigger.longest_interval) == (0, "default", 0.1)
    gate.touch()

    async def wait() -> dict[str, Any]:
        async for event in trigger.run():
            return dict(event.payload)
        raise AssertionError("no event")

    event = asyncio.run(wait())
    result = make_sensor().execute_complete(context, event)  # type: ignore[arg-type]
    assert result["subjobs"] == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_sensor_whose_time_is_up_ends_what_still_runs(
    lab: Lab, context: dict[str, Any], tmp_path: Path, deferrable: bool
) -> None:
    set_up(lab, build_gate(lab, tmp_path / "never"))
    sensor = make_sensor(timeout=0.5, deferrable=deferrable, poke_interval=0.1)
    with pytest.raises(AirflowSensorTimeout):
        sensor.execute(context)  # type: ignore[arg-type]
    run = lab.open()
    lab.wait(run)
    assert {verdict.status.value for verdict in run.observe().verdicts.values()} == {"cancelled"}


def test_the_trigger_hands_back_when_the_time_is_up(
    lab: Lab, context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger_module, "_HOLD_BACK", 0.0)
    set_up(lab, build_gate(lab, tmp_path / "never"))
    place = (str(lab.layout().folder), lab.run.dag_id, lab.run.run_id, 0, "default")
    trigger = BatchJobTrigger(*place, deadline=time.time() + 0.5, longest_interval=0.1)

    async def wait() -> dict[str, Any]:
        async for event in trigger.run():
            return dict(event.payload)
        raise AssertionError("no event")

    event = asyncio.run(wait())
    with pytest.raises(AirflowSensorTimeout, match=r"not done within 9 s .*ended"):
        make_sensor(timeout=9).execute_complete(context, event)  # type: ignore[arg-type]


def test_a_failure_seen_by_the_trigger_is_tried_again_by_the_sensor(
    lab: Lab, context: dict[str, Any], tmp_path: Path
) -> None:
    script = 'mkdir "$1" 2>&1 && exit 3; cp "$2" CollectorOutput.root'
    set_up(lab, ["bash", "-c", script, "-", str(tmp_path / "first"), str(lab.files.collected[0])])
    lab.wait(lab.open())
    result = make_sensor().execute_complete(context, {"first_attempt": 0, "deadline": 4e9})  # type: ignore[arg-type]
    assert result["subjobs"] == 1
    assert list_attempts(lab) == [(0, 0), (0, 1)]


def test_an_error_of_the_trigger_can_be_mended_by_a_retry(context: dict[str, Any]) -> None:
    with pytest.raises(PollError, match="the server is down"):
        make_sensor().execute_complete(context, {"error": "the server is down"})  # type: ignore[arg-type]


def test_killing_the_task_ends_the_jobs(lab: Lab, context: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("AIRFLOW__CAF__DEFER_AFTER", "0")
    set_up(lab, build_gate(lab, tmp_path / "never"))
    sensor = make_sensor()
    sensor.on_kill()
    with pytest.raises(TaskDeferred):
        sensor.execute(context)  # type: ignore[arg-type]
    sensor.on_kill()
    run = lab.open()
    lab.wait(run)
    assert {verdict.status.value for verdict in run.observe().verdicts.values()} == {"cancelled"}


def test_a_calibration_that_was_not_prepared_fails_for_good(context: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="The manifest of collection 'default'"):
        make_sensor().execute(context)  # type: ignore[arg-type]


def test_the_constructor_only_assigns() -> None:
    sensor = make_sensor(max_subjob_retries=7)
    assert (sensor.calibration, sensor.iteration, sensor.collection) == ("vertex", 0, "default")
    assert sensor.max_retries == 7
    assert sensor.deferrable
    assert [field for field in sensor.template_fields if not hasattr(sensor, field)] == []


def test_how_far_it_is_stands_in_the_store(lab: Lab, context: dict[str, Any], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    set_up(lab, build_gate(lab, gate))
    sensor = make_sensor()
    run = sensor.find_opened(context)  # type: ignore[arg-type]
    while sensor.look(context, run, 0) is Look.WAITING and context["task_state_store"]["progress"] != "1 running":  # type: ignore[arg-type]
        time.sleep(0.02)
    gate.touch()
    sensor.execute(context)  # type: ignore[arg-type]
    assert context["task_state_store"]["progress"] == "1 done"


@pytest.mark.parametrize(("try_number", "status"), [(2, "running"), (3, "cancelled")])
def test_the_last_try_of_the_task_ends_what_still_runs(
    lab: Lab, context: dict[str, Any], tmp_path: Path, try_number: int, status: str
) -> None:
    gate = tmp_path / "gate"
    set_up(lab, build_gate(lab, gate))
    wait_for_status(lab, "running")
    context["ti"].try_number = try_number
    with pytest.raises(PollError, match="the server is down"):
        make_sensor().execute_complete(context, {"error": "the server is down"})  # type: ignore[arg-type]
    wait_for_status(lab, status)
    gate.touch()
    lab.wait(lab.open())


def test_a_failure_to_end_the_jobs_does_not_hide_why_the_task_fails(
    context: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    context["ti"].try_number = 3
    with pytest.raises(PollError, match="the server is down"):
        make_sensor().execute_complete(context, {"error": "the server is down"})  # type: ignore[arg-type]
    assert "What still runs of collection 'default' could not be ended" in capsys.readouterr().out


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_soft_sensor_whose_time_is_up_ends_what_still_runs_too(
    lab: Lab, context: dict[str, Any], tmp_path: Path, deferrable: bool
) -> None:
    set_up(lab, build_gate(lab, tmp_path / "never"))
    sensor = make_sensor(timeout=0.5, soft_fail=True, deferrable=deferrable, poke_interval=0.1)
    with pytest.raises(AirflowSkipException):
        sensor.execute(context)  # type: ignore[arg-type]
    wait_for_status(lab, "cancelled")


def wait_for_status(lab: Lab, status: str) -> None:
    run = lab.open()
    wait_until(lambda: {verdict.status.value for verdict in run.observe().verdicts.values()} == {status})


def set_up_done(lab: Lab) -> None:
    set_up(lab)
    lab.wait(lab.open())


def observe(state: SubjobStatus, **words: Any) -> Observation:
    verdict = Verdict(subjob=0, status=state, attempt=0, **words)
    return Observation(arrays=(), verdicts={0: verdict}, problem=None)


def test_it_stays_while_only_the_grace_time_is_waited_for(
    lab: Lab, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The triggerer would begin it anew, and so would a rescheduled sensor: neither would ever come to its end."""
    monkeypatch.setenv("AIRFLOW__CAF__DEFER_AFTER", "0")
    set_up_done(lab)
    seen = [observe(SubjobStatus.QUEUED, settling=True)] * 3
    look = CollectionRun.observe
    monkeypatch.setattr(CollectionRun, "observe", lambda self: seen.pop() if seen else look(self))
    assert make_sensor().execute(context)["subjobs"] == 1  # type: ignore[arg-type]
    seen = [observe(SubjobStatus.QUEUED, settling=True)] * 3
    assert make_sensor(deferrable=False, mode="reschedule").poke(context)  # type: ignore[arg-type]
    assert seen == []


def test_a_silent_batch_system_is_given_up_by_a_rescheduled_sensor(
    lab: Lab, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look is a new process with an empty memory."""
    monkeypatch.setenv("AIRFLOW__CAF__POLL_DEADLINE", "0.3")
    set_up_done(lab)
    context["task_state_store"]["first_attempt"] = 0
    look = CollectionRun.observe
    silent = replace(observe(SubjobStatus.QUEUED), problem="no route to host")
    monkeypatch.setattr(CollectionRun, "observe", lambda _: silent)

    def poke() -> bool:
        return make_sensor(deferrable=False, mode="reschedule").poke(context)  # type: ignore[arg-type]

    assert not poke()
    assert "silent_since" in context["task_state_store"]
    time.sleep(0.3)
    with pytest.raises(PollError, match=r"not answered for 0\.3 s: no route to host"):
        poke()
    monkeypatch.setattr(CollectionRun, "observe", look)
    assert poke()
    assert "silent_since" not in context["task_state_store"]


def test_a_store_that_is_busy_does_not_end_the_wait(
    lab: Lab, context: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(lab)

    class Busy(Store):
        def set(self, name: str, value: Any) -> None:
            if name == "progress":
                raise AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR))
            super().set(name, value)

    context["task_state_store"] = Busy()
    assert make_sensor().execute(context)["subjobs"] == 1  # type: ignore[arg-type]
    assert "could not be put into the task's state store" in capsys.readouterr().out


def test_a_failure_that_the_definition_allows_ends_the_wait_with_a_warning(
    lab: Lab, context: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bash", "-c", 'test "$1" = 0 && cp "$2" CollectorOutput.root', "-", "{subjob}"]
    words.append(str(lab.files.collected[0]))
    collection = lab.copies(words, max_collector_jobs=2, max_failed_subjobs=1, max_subjob_retries=0)
    lab.prepare(lab.calibration(collections={"default": collection}))
    lab.submit()
    # What the definition says about the tries counts.
    result = make_sensor().execute(context)  # type: ignore[arg-type]
    assert (result["subjobs"], result["failed"]) == (2, 1)
    assert "1 of 2 subjobs of collection 'default'" in capsys.readouterr().out
    assert [attempt for subjob, attempt in list_attempts(lab) if subjob == 1][-1] <= 1


@pytest.mark.parametrize(
    "error", [RuntimeError("a mistake of ours"), AirflowException("of Airflow"), OSError(5, "disk")]
)
@pytest.mark.parametrize(("try_number", "status"), [(2, "running"), (3, "cancelled")])
def test_whatever_ends_the_last_try_ends_what_still_runs(
    lab: Lab, context: dict[str, Any], tmp_path: Path, error: Exception, try_number: int, status: str
) -> None:
    gate = tmp_path / "gate"
    set_up(lab, build_gate(lab, gate))
    wait_for_status(lab, "running")
    context["ti"].try_number = try_number

    def fail(_: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CollectionRun, "observe", fail)
        with pytest.raises(type(error)):
            make_sensor().execute(context)  # type: ignore[arg-type]
    wait_for_status(lab, status)
    gate.touch()
    lab.wait(lab.open())


def test_a_trigger_that_airflow_could_not_run_ends_what_still_runs_on_the_last_try(
    lab: Lab, context: dict[str, Any], tmp_path: Path
) -> None:
    """Airflow then calls nothing of ours but this."""
    set_up(lab, build_gate(lab, tmp_path / "never"))
    wait_for_status(lab, "running")
    context["ti"].try_number = 3
    with pytest.raises(TaskDeferralError):
        make_sensor().resume_execution("__fail__", {"error": "Trigger failure"}, context)  # type: ignore[arg-type]
    wait_for_status(lab, "cancelled")


def test_a_reschedule_on_the_last_try_ends_nothing(lab: Lab, context: dict[str, Any], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    set_up(lab, build_gate(lab, gate))
    context["ti"].try_number = 3
    sensor = make_sensor(deferrable=False, mode="reschedule", poke_interval=0.0)
    with pytest.raises(AirflowRescheduleException):
        sensor.execute(context)  # type: ignore[arg-type]
    gate.touch()
    run = lab.open()
    lab.wait(run)
    assert {verdict.status.value for verdict in run.observe().verdicts.values()} == {"done"}


def test_a_failure_that_nobody_knows_of_to_end_the_jobs_does_not_hide_why_the_task_fails(
    context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    context["ti"].try_number = 3

    def fail(*_: object) -> None:
        raise ValueError("another one")

    monkeypatch.setattr(CollectorJobSensor, "find_opened", fail)
    with pytest.raises(PollError, match="the server is down"):
        make_sensor().execute_complete(context, {"error": "the server is down"})  # type: ignore[arg-type]
