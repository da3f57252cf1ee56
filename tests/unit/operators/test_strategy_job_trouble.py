"""An algorithm as a job, and everything that goes wrong around it: it ends as in the worker, or says what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout
from airflow_provider_caf.core.errors import CafError, CheckpointError, SubmitError
from airflow_provider_caf.core.lock import hold_lock
from airflow_provider_caf.jobs.run import SubjobRun
from airflow_provider_caf.operators.strategy import StrategyOperator
from airflow_provider_caf.steps.manifest import Target
from airflow_provider_caf.steps.strategy_job import find_jobs_folder
from tests.unit.conftest import Lab, State
from tests.unit.operators.test_strategy_job import (
    calibrate,
    context,
    count_attempts,
    count_prints,
    in_thread,
    read_database,
    set_up,
)

__all__ = ["context", "in_thread"]  # fixtures

pytestmark = pytest.mark.without_root


def describe_end(context: Any, layout: AlgorithmLayout) -> dict[str, Any]:
    """Run the task, and give all that people see of how it ended, and what it has left."""
    end: dict[str, Any] = {}
    try:
        end["xcom"] = calibrate(context)
        end["xcom"]["wasted"] = 0  # how much runs ahead is a matter of luck
    except (CafError, AirflowFailException) as error:
        # The place of the code in a traceback and the numbers of processes are not ours.
        end["error"] = (type(error), str(error).partition("\n  log:")[0].partition("\n    |")[0])
    end["database"] = read_database(layout) if layout.database.exists() else None
    end["result"] = {**json.loads(layout.result.read_text()), "wasted": 0} if layout.result.exists() else None
    return end


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("HoleStrategy", {"workers": 2}),
        ("FirstRunsStrategy", {}),
        ("BrokenStrategy", {}),
        ("SequentialBoundaries", {}),
        ("SequentialRunByRun", {"settings": {"behaviour": "fail at once"}}),
        ("SequentialRunByRun", {"settings": {"least": 100}}),
        ("SimpleRunByRun", {"settings": {"behaviour": "nonsense"}}),
        ("SimpleRunByRun", {"settings": {"behaviour": "raise"}, "workers": 2}),
        ("SimpleRunByRun", {"settings": {"chatter": 20_000}}),
        ("SimpleRunByRun", {"data_input": "take_nonsense"}),
        ("SimpleRunByRun", {"pre_algorithm": "warm_up"}),
    ],
)
def test_it_ends_as_in_the_worker(lab: Lab, context: Any, strategy: str, words: dict[str, Any]) -> None:
    for name in words.keys() & {"data_input", "pre_algorithm"}:
        words = {**words, name: f"{lab.files.plain_module}:{words[name]}"}
    layout = set_up(lab, backend=None, strategy=strategy, **words)
    here = describe_end(context, layout)
    context["ti"].max_tries = context["ti"].try_number = 1
    set_up(lab, strategy=strategy, **words)
    assert describe_end(context, layout) == here


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def change_version(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 7}))


HARMLESS: list[Callable[[AlgorithmLayout], object]] = [
    lambda layout: change_version(layout.job_live),
    lambda layout: cut(layout.job_live),
    lambda layout: layout.job_live.unlink(),
    lambda layout: cut(layout.job_request),
    lambda layout: shutil.rmtree(layout.database),
    lambda layout: layout.result.unlink(),
]


def test_what_is_only_shown_or_made_anew_may_be_lost(lab: Lab, context: Any) -> None:
    layout = set_up(lab, settings={"talks": True})
    calibrate(context)
    before = read_database(layout)
    for number, damage in enumerate(HARMLESS, start=2):
        damage(layout)
        context["ti"].try_number = number
        assert calibrate(context)["executions"] == 4
        assert read_database(layout) == before
    assert (count_prints(layout), count_attempts(layout)) == (4, 1)


LOSSES: dict[str, tuple[Callable[[AlgorithmLayout], object], str]] = {
    "staging": (lambda layout: shutil.rmtree(layout.staging_folder), "of 4 of its executions .* gone or cut off"),
    "payload": (lambda layout: cut(min(layout.staging_folder.iterdir())), "of 1 of its executions .* gone or cut off"),
    "end": (lambda layout: layout.job_end.unlink(), "does not belong to this run of the task"),
    "cut": (lambda layout: cut(layout.job_end), "is not JSON, or is cut off"),
    "version": (lambda layout: change_version(layout.job_end), "has version 7, this program knows 1"),
    "header": (lambda layout: (layout.checkpoint_folder / "checkpoint.json").unlink(), "does not belong to this run"),
    "records": (lambda layout: (layout.checkpoint_folder / "executions-0.json").unlink(), "something else than it did"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_lost_of_a_done_job_is_told_and_a_clear_mends_it(lab: Lab, context: Any, loss: str) -> None:
    damage, message = LOSSES[loss]
    layout = set_up(lab)
    calibrate(context)
    before = read_database(layout)
    damage(layout)
    context["ti"].try_number = 2
    with pytest.raises((CafError, AirflowFailException), match=f"(?s){message}"):
        calibrate(context)
    context["ti"].max_tries = 2
    assert calibrate(context)["replayed"] == 0
    assert read_database(layout) == before


def test_a_checkpoint_of_another_release_names_its_file(lab: Lab, context: Any) -> None:
    layout = set_up(lab)
    calibrate(context)
    change_version(layout.checkpoint_folder / "checkpoint.json")
    context["ti"].max_tries = 1
    with pytest.raises(CheckpointError, match=f"the file in {layout.checkpoint_folder}"):
        calibrate(context)
    (layout.checkpoint_folder / "checkpoint.json").unlink()
    assert calibrate(context)["executions"] == 4


def start_again(layout: AlgorithmLayout, app: Path) -> subprocess.CompletedProcess[str]:
    """Start the job as a batch system does that has lost sight of its first start."""
    argv = [sys.executable, str(app), "strategy", str(layout.job_request)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def find_app(layout: AlgorithmLayout) -> Path:
    (app,) = find_jobs_folder(layout).folder.glob("app_*.pyz")
    return app


def test_a_second_start_of_a_done_job_changes_nothing(lab: Lab, context: Any) -> None:
    layout = set_up(lab, settings={"talks": True})
    calibrate(context)
    before = {path: path.stat().st_mtime_ns for path in layout.folder.rglob("*") if path.suffix != ".log"}
    assert start_again(layout, find_app(layout)).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in layout.folder.rglob("*") if path.suffix != ".log"} == before
    assert count_prints(layout) == 4


def test_a_late_start_with_the_code_of_before_is_refused(lab: Lab, context: Any) -> None:
    layout = set_up(lab, settings={"talks": True})
    calibrate(context)
    old = shutil.copyfile(find_app(layout), find_app(layout).with_name("app_of_before.pyz"))
    layout.job_end.unlink()
    shutil.rmtree(layout.checkpoint_folder)
    ended = start_again(layout, old)
    assert ended.returncode == 1
    assert "begun anew, with other code than this job has" in ended.stderr
    assert count_prints(layout) == 4
    assert len(read_database(layout)) == 5


def test_the_choice_for_a_clear_outlives_a_try_whose_job_never_began(
    lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = set_up(lab, settings={"talks": True})
    calibrate(context)
    context["task_state_store"].set("keep_executions", True)
    context["ti"].max_tries = 1

    def refuse(*_: Any, **__: Any) -> None:
        raise SubmitError("The queue is closed.")

    with monkeypatch.context() as patch:
        patch.setattr(SubjobRun, "submit_missing", refuse)
        with pytest.raises(SubmitError):
            calibrate(context)
    assert context["task_state_store"].get("keep_executions") is False
    assert calibrate(context)["replayed"] == 4
    assert count_prints(layout) == 4
    # It was for one clear.
    context["ti"].max_tries = 2
    assert calibrate(context)["replayed"] == 0


def test_a_job_that_fails_before_it_has_begun_does_not_hide_behind_an_earlier_end(lab: Lab, context: Any) -> None:
    layout = set_up(lab, settings={"behaviour": "crash"}, max_retries=0)
    with pytest.raises(CafError, match="SIGSEGV"):
        calibrate(context)
    layout.job_lock.unlink()
    layout.job_lock.mkdir()
    context["ti"].try_number = 2
    with pytest.raises(AirflowFailException, match=r"(?s)1 of 1 subjobs .* could not be opened"):
        calibrate(context)


def test_the_worker_waits_for_a_job_that_is_not_dead_yet(
    lab: Lab, context: Any, in_thread: Callable[[Callable[[], Any]], Future[Any]]
) -> None:
    layout = set_up(lab)
    calibrate(context)
    set_up(lab, backend=None)
    context["ti"].max_tries = 1
    before = read_database(layout)
    with hold_lock(layout.job_lock, "a job"):
        task = in_thread(lambda: calibrate(context))
        with pytest.raises(TimeoutError):
            task.result(1.0)
        assert read_database(layout) == before
    assert task.result()["executions"] == 4


def run_next(lab: Lab, context: Any, algorithm: str, iteration: int) -> Any:
    """Run another algorithm task, and give what its executions handed out."""
    operator = StrategyOperator(
        task_id="next", calibration="vertex", iteration=iteration, algorithm=algorithm, deferrable=False
    )
    own: Any = {**context, "task_state_store": State()}
    operator.execute(own)
    result = lab.layout().iteration(iteration).algorithm(algorithm).result
    return [execution["output"] for execution in json.loads(result.read_text())["executions"]]


def test_the_next_algorithm_and_the_next_pass_see_the_payloads_of_a_job(lab: Lab, context: Any) -> None:
    names: dict[str, dict[str, Any]] = {"MeanAlgorithm": {}, "ReadingAlgorithm": {"settings": {"reads": ["Mean"]}}}
    algorithms = [lab.algorithm(name, backend="local", **words) for name, words in names.items()]
    target = Target(connection_args={"environment": {"PYTHONPATH": str(lab.files.no_root)}})
    lab.prepare(lab.calibration(algorithms=algorithms), algorithms=dict.fromkeys(names, target))
    lab.take_merged()
    calibrate(context)
    means = [11.0, 22.0, 31.0, 42.0]
    seen = [{"Mean": {"iteration": 0, "value": mean}} for mean in means]
    assert run_next(lab, context, "ReadingAlgorithm", 0) == seen
    lab.decide()
    lab.take_merged(1)
    assert run_next(lab, context, "MeanAlgorithm", 1) == [{"entries": count} for count in (2.0, 3.0, 2.0, 2.0)]
    assert run_next(lab, context, "ReadingAlgorithm", 1) == [
        {"Mean": {"iteration": 1, "value": mean}} for mean in means
    ]


CHANCE = """
import os
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.strategies import Execute, Strategy, complete


class Chance(Strategy):
    def plan(self, runs):
        yield Execute(runs=runs, iov=IoV.spanning(runs), input=os.getpid())
        return complete()
"""


def test_a_strategy_that_uses_chance_is_told_so(lab: Lab, context: Any, tmp_path: Path) -> None:
    (tmp_path / "chance.py").write_text(CHANCE)
    set_up(lab, strategy=f"{tmp_path}/chance.py:Chance")
    with pytest.raises(AirflowFailException, match=r"(?s)asks for something else .* may not depend on chance"):
        calibrate(context)


def test_a_full_disk_in_the_job_is_told_and_what_was_finished_counts(lab: Lab, context: Any) -> None:
    algorithm = lab.algorithm(backend="local", settings={"chatter": 20_000}, max_retries=0)
    words: dict[str, Any] = {"environment": {"PYTHONPATH": str(lab.files.no_root)}, "setup": ["ulimit -f 12"]}
    lab.prepare(lab.calibration(algorithms=algorithm), algorithms={algorithm.name: Target(connection_args=words)})
    lab.take_merged()
    with pytest.raises(CafError, match=r"could not be written: File too large"):
        calibrate(context)
    del words["setup"]
    lab.prepare(lab.calibration(algorithms=algorithm), algorithms={algorithm.name: Target(connection_args=words)})
    context["ti"].try_number = 2
    assert calibrate(context)["committed"] == 4
