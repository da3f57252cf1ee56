"""An algorithm step that died goes on where it was, with the result of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout
from airflow_provider_caf.core.errors import AlgorithmFailed, CafError, CheckpointError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.catalog import ExecutionRow
from airflow_provider_caf.io.local_database import LocalDatabase
from tests.unit.conftest import Lab, State
from tests.waiting import is_running, wait_until

# What is told apart here is what the parent has kept; of its processes only that they answer, or die.
pytestmark = pytest.mark.without_root

KEY = ("vertex", 0, "MeanAlgorithm")


def set_up(lab: Lab, **words: Any) -> AlgorithmLayout:
    lab.prepare(lab.calibration(algorithms=lab.algorithm(**words)))
    lab.take_merged()
    return lab.layout().iteration(0).algorithm("MeanAlgorithm")


def count_prints(layout: AlgorithmLayout) -> int:
    """Count the executions that an algorithm really did."""
    return sum(path.read_text().count("calibrates") for path in layout.folder.glob("*.log"))


def read_database(layout: AlgorithmLayout) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in layout.database.iterdir()}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_retry_executes_only_what_was_not_finished(lab: Lab, workers: int) -> None:
    settings = {"behaviour": "crash once", "talks": True}
    layout = set_up(lab, settings=settings, workers=workers)
    with pytest.raises(AlgorithmFailed, match="SIGSEGV"):
        lab.calibrate()
    (layout.folder / "crashed").write_text("yes")
    result = lab.calibrate()
    assert (result.executions, result.replayed, result.broken) == (4, 3, 0)
    assert count_prints(layout) == 5
    assert [row.key for row in lab.catalog.read(ExecutionRow, "lab", lab.run.run_id)] == [0, 1, 2, 3]


@pytest.mark.without_root(False)
def test_the_database_is_byte_for_byte_that_of_an_undisturbed_run(lab: Lab) -> None:
    layout = set_up(lab, settings={"behaviour": "crash once"})
    with pytest.raises(AlgorithmFailed):
        lab.calibrate()
    (layout.folder / "crashed").write_text("yes")
    lab.calibrate()
    restarted = read_database(layout)
    assert lab.calibrate(generation=1).replayed == 0
    assert read_database(layout) == restarted
    assert len(LocalDatabase(layout.database).entries()) == 4


def test_the_record_of_an_execution_is_whole(lab: Lab) -> None:
    layout = set_up(lab)
    lab.calibrate()
    (first, *_) = lab.states[KEY].get("executions-0")
    assert first["runs"] == [[1, 1]]
    assert first["iov"] == [1, 1, 1, 1]
    assert first["code"] == 0
    assert first["output"] == {"entries": 2.0}
    (payload,) = first["payloads"]
    assert payload["name"] == "Mean"
    assert (layout.staging_folder / f"dbstore_Mean_rev_{payload['revision']}.root").stat().st_size == payload["size"]


def test_a_clear_is_a_fresh_run(lab: Lab) -> None:
    layout = set_up(lab, settings={"talks": True})
    lab.calibrate()
    result = lab.calibrate(generation=1)
    assert (result.executions, result.replayed) == (4, 0)
    assert count_prints(layout) == 8


def test_a_clear_can_keep_the_finished_executions(lab: Lab) -> None:
    layout = set_up(lab, settings={"talks": True}, keep_executions=True)
    lab.calibrate()
    assert lab.calibrate(generation=1).replayed == 4
    assert count_prints(layout) == 4


@pytest.mark.parametrize("value", [True, "true"])
def test_the_choice_can_be_made_in_the_state_store_before_a_clear(lab: Lab, value: Any) -> None:
    layout = set_up(lab, settings={"talks": True})
    lab.calibrate()
    assert lab.states[KEY].get("keep_executions") is False
    lab.states[KEY].set("keep_executions", value)
    assert lab.calibrate(generation=1).replayed == 4
    # It was for one clear.
    assert lab.calibrate(generation=2).replayed == 0
    assert count_prints(layout) == 8


def test_a_choice_that_is_neither_is_refused(lab: Lab) -> None:
    set_up(lab)
    lab.calibrate()
    lab.states[KEY].set("keep_executions", "perhaps")
    with pytest.raises(CheckpointError, match="'perhaps' under 'keep_executions'"):
        lab.calibrate(generation=1)


def test_executions_on_other_data_are_not_used(lab: Lab) -> None:
    set_up(lab)
    lab.calibrate()
    merged = lab.layout().iteration(0).collection("default").merged_file
    os.utime(merged, (1, 1))
    assert lab.calibrate().replayed == 0


def test_executions_with_other_settings_are_not_used(lab: Lab) -> None:
    set_up(lab)
    lab.calibrate()
    lab.prepare(lab.calibration(algorithms=lab.algorithm(settings={"least": 3})))
    with pytest.raises(CafError):
        assert lab.calibrate().replayed == 0


def test_another_strategy_takes_what_fits(lab: Lab) -> None:
    set_up(lab)
    lab.calibrate()
    lab.prepare(lab.calibration(algorithms=lab.algorithm(strategy="SequentialRunByRun")))
    result = lab.calibrate()
    assert result.executions == 4
    # Its IoVs are others, but those in the middle of an experiment are the same.
    assert result.replayed == 2


@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_an_execution_whose_payload_is_not_whole_is_done_again(lab: Lab, damage: str) -> None:
    layout = set_up(lab)
    lab.calibrate()
    before = read_database(layout)
    victim = min(layout.staging_folder.iterdir())
    if damage == "lost":
        victim.unlink()
    else:
        victim.chmod(0o644)
        victim.write_bytes(victim.read_bytes()[:-10])
    assert lab.calibrate().replayed == 3
    assert read_database(layout) == before


def test_a_kill_while_a_fresh_run_begins_leaves_nothing_of_the_old_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(lab)
    lab.calibrate()

    def die(self: State, key: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(State, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            lab.calibrate(generation=1)
    assert lab.calibrate(generation=1).replayed == 0


def test_a_retry_goes_on_with_the_code_it_began_with(lab: Lab, tmp_path: Path) -> None:
    layout = set_up(lab, settings={"behaviour": "crash once"})
    with pytest.raises(AlgorithmFailed):
        lab.calibrate()
    code = layout.app.read_bytes()
    (layout.folder / "crashed").write_text("yes")
    stamp = layout.app.stat().st_mtime_ns
    lab.calibrate()
    assert layout.app.read_bytes() == code
    assert layout.app.stat().st_mtime_ns == stamp


def test_large_records_go_to_files_and_many_small_ones_to_several_keys(lab: Lab) -> None:
    layout = set_up(lab, settings={"chatter": 20_000})
    lab.calibrate()
    chunk = lab.states[KEY].get("executions-0")
    assert [sorted(each) for each in chunk] == [["file", "sha256"]] * 4
    assert lab.calibrate().replayed == 4
    (layout.checkpoint_folder / chunk[1]["file"]).write_text("{}")
    assert lab.calibrate().replayed == 3
    assert lab.calibrate(generation=1).replayed == 0
    lab.prepare(lab.calibration(algorithms=lab.algorithm(settings={"chatter": 7_000})))
    lab.calibrate(generation=2)
    assert sorted(key for key in lab.states[KEY] if key.startswith("executions")) == ["executions-0", "executions-1"]
    assert lab.calibrate(generation=2).replayed == 4


def test_a_path_in_the_store_is_refused(lab: Lab) -> None:
    set_up(lab)
    lab.calibrate()
    lab.states[KEY].set("executions-0", [{"file": "x", "sha256": "../../secret"}])
    with pytest.raises(CheckpointError, match="checksum"):
        lab.calibrate()


@pytest.mark.parametrize("value", [[7], "text", [{"runs": "all"}]])
def test_a_store_with_something_else_is_refused(lab: Lab, value: Any) -> None:
    set_up(lab)
    lab.calibrate()
    lab.states[KEY].set("executions-0", value)
    with pytest.raises(CheckpointError, match="task state store"):
        lab.calibrate()


TRIES = """
import json, os, sys, traceback
from pathlib import Path
from airflow_provider_caf.io.catalog import ExecutionRow, open_sqlite_catalog
from airflow_provider_caf.io.layout import RunLayout
from tests.unit.conftest import DAG_ID, RUN_ID, Lab, State

class FileState(State):
    def set(self, key, value):
        super().set(key, value)
        # As a database would: the whole new value or the old one, whenever the kill comes.
        new = Path(sys.argv[2] + ".new")
        new.write_text(json.dumps(dict(self)))
        new.rename(sys.argv[2])

def calibrate():
    lab = Lab(files=None, run=RunLayout(work_dir=Path(sys.argv[1]) / "caf", dag_id=DAG_ID, run_id=RUN_ID),
              catalog=open_sqlite_catalog(Path(sys.argv[1]) / "catalog.sqlite"))
    lab.states[("vertex", 0, "MeanAlgorithm")] = FileState(json.loads(Path(sys.argv[2]).read_text()))
    lab.calibrate()

while sys.stdin.readline():
    child = os.fork()
    if not child:
        try:
            calibrate()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(child, flush=True)
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Tries of one task, by a process that has imported what they take: a line starts one, the next asks how it ended."""


def run_and_kill(tries: subprocess.Popen[str], store: Path, delay: float) -> int:
    """Kill a try some seconds after it has kept something, if it still runs, and give its exit code."""
    assert tries.stdin is not None
    assert tries.stdout is not None
    seen = store.read_text()
    print(file=tries.stdin, flush=True)
    pid = int(tries.stdout.readline())
    wait_until(lambda: store.read_text() != seen or not is_running(pid))
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)  # its parent has not asked yet, so the number is its own
    print(file=tries.stdin, flush=True)
    return int(tries.stdout.readline())


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_at_any_moment_changes_nothing(lab: Lab, tmp_path: Path, workers: int) -> None:
    layout = set_up(lab, settings={"seconds": 0.3, "talks": True}, workers=workers, strategy="SequentialRunByRun")
    store = tmp_path / "state.json"
    store.write_text("{}")
    argv = [sys.executable, "-W", "ignore", "-c", TRIES, str(tmp_path), str(store)]
    codes: list[int] = []
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tries:
        while 0 not in codes and len(codes) < 40:
            codes.append(run_and_kill(tries, store, 0.05 * (len(codes) % 3)))
    *killed, last = codes
    assert set(killed) == {-signal.SIGKILL}
    assert len(killed) >= 3
    assert last == 0
    restarted = read_database(layout)
    done = count_prints(layout)
    lab.states[KEY] = State(json.loads(store.read_text()))
    assert lab.calibrate().replayed == 4
    assert count_prints(layout) == done
    lab.calibrate(generation=1)
    assert read_database(layout) == restarted
    assert [entry.iov for entry in LocalDatabase(layout.database).entries()] == [
        IoV(1, 1, 1, 1),
        IoV(1, 2, 1, 2),
        IoV(1, 3, 1, -1),
        IoV(2, 0, 2, 1),
    ]
