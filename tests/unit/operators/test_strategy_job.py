"""An algorithm whose strategy runs as a job: the same database as in the worker, whatever happens to the job."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout
from airflow_provider_caf.core.errors import AlgorithmDied, DefinitionError
from airflow_provider_caf.hooks.batch import open_jobs
from airflow_provider_caf.io.catalog import ExecutionRow
from airflow_provider_caf.operators.strategy import StrategyOperator
from airflow_provider_caf.site.places import find_catalog
from airflow_provider_caf.steps.manifest import Target
from airflow_provider_caf.steps.strategy_job import find_jobs_folder, read_live
from airflow_provider_caf.triggers.strategy import StrategyJobTrigger
from tests.unit.conftest import Lab
from tests.unit.operators.running import build_job_context
from tests.waiting import wait_until

pytestmark = pytest.mark.without_root


@pytest.fixture
def context(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield build_job_context(lab, monkeypatch, "fit")
    layout = find_jobs_folder(lab.layout().iteration(0).algorithm("MeanAlgorithm"))
    if layout.manifest.exists():
        open_jobs(layout).cancel()


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit


def set_up(
    lab: Lab, *, backend: str | None = "local", strategy: str = "SimpleRunByRun", **words: Any
) -> AlgorithmLayout:
    algorithm = lab.algorithm(strategy=strategy, backend=backend, **words)
    environment = {"environment": {"PYTHONPATH": str(lab.files.no_root)}}
    targets = {algorithm.name: Target(connection_args=environment)} if backend else {}
    lab.prepare(lab.calibration(algorithms=algorithm), algorithms=targets)
    lab.take_merged()
    return lab.layout().iteration(0).algorithm("MeanAlgorithm")


def calibrate(context: Any, **words: Any) -> Any:
    operator = StrategyOperator(
        task_id="fit", calibration="vertex", iteration=0, algorithm="MeanAlgorithm", deferrable=False, **words
    )
    return operator.execute(context)


def read_database(layout: AlgorithmLayout) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in layout.database.iterdir()}


def read_result(layout: AlgorithmLayout) -> Any:
    return json.loads(layout.result.read_text())


def count_prints(layout: AlgorithmLayout) -> int:
    return sum(path.read_text().count("calibrates") for path in layout.folder.glob("*.log"))


def count_attempts(layout: AlgorithmLayout) -> int:
    return len(list(find_jobs_folder(layout).jobs.status_folder.glob("*.json")))


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("SimpleRunByRun", {}),
        ("SimpleRunByRun", {"workers": 2}),
        ("SequentialRunByRun", {"settings": {"least": 2}, "fill_gaps": True}),
        ("SequentialBoundaries", {"params": {"payload_boundaries": [[1, 1], [1, 3]]}}),
        ("SingleIOV", {}),
    ],
)
def test_the_database_is_that_of_a_run_in_the_worker(lab: Lab, context: Any, strategy: str, words: Any) -> None:
    layout = set_up(lab, backend=None, strategy=strategy, **words)
    here = calibrate(context)
    expected, result = read_database(layout), read_result(layout)
    rows = [(row.key, row.iov, row.output) for row in find_catalog().read(ExecutionRow, lab.run.dag_id, lab.run.run_id)]
    context["ti"].max_tries = 1
    set_up(lab, strategy=strategy, **words)
    layout.database.rename(layout.folder / "aside")
    there = calibrate(context)
    assert read_database(layout) == expected
    assert {**read_result(layout), "wasted": 0} == {**result, "wasted": 0}
    assert {**there, "wasted": 0} == {**here, "wasted": 0}
    assert rows == [
        (row.key, row.iov, row.output) for row in find_catalog().read(ExecutionRow, lab.run.dag_id, lab.run.run_id)
    ]


def test_a_retry_of_the_task_repeats_nothing_and_a_clear_all(lab: Lab, context: Any) -> None:
    layout = set_up(lab, settings={"talks": True})
    calibrate(context)
    context["ti"].try_number = 2
    assert calibrate(context)["executions"] == 4
    assert (count_prints(layout), count_attempts(layout)) == (4, 1)
    context["ti"].max_tries = 1
    calibrate(context)
    assert (count_prints(layout), count_attempts(layout)) == (8, 2)


def test_a_clear_can_keep_the_finished_executions(lab: Lab, context: Any) -> None:
    layout = set_up(lab, settings={"talks": True})
    calibrate(context)
    context["task_state_store"].set("keep_executions", "true")
    context["ti"].max_tries = 1
    assert calibrate(context)["replayed"] == 4
    assert (count_prints(layout), count_attempts(layout)) == (4, 2)
    context["ti"].max_tries = 2
    calibrate(context)
    assert count_prints(layout) == 8


def test_what_the_algorithm_raises_fails_the_task_as_in_the_worker(lab: Lab, context: Any) -> None:
    layout = set_up(lab, settings={"behaviour": "raise", "talks": True}, max_retries=3)
    with pytest.raises(AirflowFailException, match=r"(?s)1 of 4 executions .* broke.*no convergence after 17 steps"):
        calibrate(context)
    # No other try would do better, and what the strategy had is committed.
    assert count_attempts(layout) == 1
    assert len(read_database(layout)) == 4


def test_a_process_that_died_runs_again_and_nothing_else(lab: Lab, context: Any) -> None:
    # The first try has finished executions, and does not count.
    layout = set_up(lab, settings={"behaviour": "crash", "talks": True}, max_retries=0)
    with pytest.raises(AlgorithmDied, match="SIGSEGV"):
        calibrate(context)
    assert (count_prints(layout), count_attempts(layout)) == (5, 2)
    (layout.folder / "crashed").write_text("yes")
    context["ti"].try_number = 2
    assert calibrate(context)["executions"] == 4
    assert count_prints(layout) == 6


def test_what_cannot_be_opened_says_why(lab: Lab, context: Any) -> None:
    layout = set_up(lab)
    index = lab.layout().iteration(0).collection("default").merged_index
    index.write_text(json.dumps({**json.loads(index.read_text()), "version": 7}))
    with pytest.raises(AirflowFailException, match="version is 7"):
        calibrate(context)
    assert count_attempts(layout) == 1


def find_child(layout: AlgorithmLayout) -> int | None:
    """Find the process that carries out the strategy."""
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"strategy" in words and str(layout.job_request).encode() in words and b"subjob" not in words:
            return int(folder.name)
    return None


def test_a_job_that_is_killed_goes_on_where_it_was(lab: Lab, context: Any, in_thread: Callable[..., Any]) -> None:
    layout = set_up(lab, settings={"talks": True, "seconds": 0.3}, max_retries=0)

    def kill_after(finished: int) -> None:
        def has_come(number: int = finished) -> bool:
            live = read_live(layout)
            return live is not None and live.count >= number

        wait_until(has_come, lambda: "the job does not get on")
        child = find_child(layout)
        assert child is not None
        os.kill(child, signal.SIGKILL)

    # Each try has finished some: none of them counts against the retries, of which there are none.
    def kill_three_times() -> None:
        for number in (1, 2, 3):
            kill_after(number)

    kills = in_thread(kill_three_times)
    result = calibrate(context)
    kills.result()
    assert result["executions"] == 4
    assert count_attempts(layout) >= 3
    # At most the execution that was under way at each kill was done twice.
    assert 4 <= count_prints(layout) <= 7
    assert not layout.job_lock.exists() or find_child(layout) is None


def defer(context: Any, monkeypatch: pytest.MonkeyPatch) -> StrategyJobTrigger:
    monkeypatch.setenv("AIRFLOW__CAF__DEFER_AFTER", "0")
    operator = StrategyOperator(task_id="fit", calibration="vertex", iteration=0, algorithm="MeanAlgorithm")
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context)
    path, words = caught.value.trigger.serialize()
    trigger = StrategyJobTrigger(**json.loads(json.dumps(words)))
    assert trigger.serialize() == (path, words)
    return trigger


def test_nothing_of_a_job_is_left_when_the_task_is_killed(
    lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = set_up(lab, settings={"seconds": 600})
    trigger = defer(context, monkeypatch)
    wait_until(lambda: find_child(layout) is not None, lambda: "the job does not begin")
    asyncio.run(trigger.on_kill())
    wait_until(lambda: find_child(layout) is None, lambda: "the job goes on")


def test_it_waits_in_the_triggerer_and_shows_the_executions_meanwhile(
    lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = set_up(lab, settings={"seconds": 0.2})
    trigger = defer(context, monkeypatch)
    run = trigger.open_run()
    counts = trigger.open_counts(run)

    def has_shown() -> bool:
        counts.update(run.observe())
        return len(find_catalog().read(ExecutionRow, lab.run.dag_id, lab.run.run_id)) >= 2

    wait_until(has_shown, lambda: "no execution is shown")
    assert not layout.result.exists()
    run.wait()
    event = {"first_attempt": trigger.first_attempt, "deadline": trigger.deadline}
    again = StrategyOperator(task_id="fit", calibration="vertex", iteration=0, algorithm="MeanAlgorithm")
    assert again.execute_complete(context, event)["committed"] == 4


def test_an_algorithm_that_leaves_its_backend_ends_the_job(lab: Lab, context: Any) -> None:
    layout = set_up(lab, settings={"seconds": 600})
    operator = StrategyOperator(
        task_id="fit", calibration="vertex", iteration=0, algorithm="MeanAlgorithm", deferrable=False, timeout=1
    )
    operator.cancel_on_kill = False
    with pytest.raises(Exception, match="not done within 1 s"):
        operator.execute(context)
    set_up(lab, backend=None)
    context["ti"].max_tries = 1
    assert calibrate(context)["committed"] == 4
    assert find_child(layout) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"backend_args": {"memory": 2000}}, "'backend_args' has no effect"),
        ({"max_retries": 2}, "'max_retries' has no effect"),
        ({"backend": "inherit", "connection": "farm"}, "'inherit' stands beside a connection"),
        ({"backend": "slurmm"}, "slurmm"),
    ],
)
def test_words_that_say_nothing_are_refused(lab: Lab, words: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        lab.algorithm(**words)
