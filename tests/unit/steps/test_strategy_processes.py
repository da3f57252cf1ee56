"""What the options of an algorithm do to its processes, and what it may write."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout
from airflow_provider_caf.core.errors import AlgorithmFailed, DefinitionError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.catalog import ExecutionRow, PayloadRow
from airflow_provider_caf.io.local_database import LocalDatabase
from tests.unit.conftest import Lab

DAG = ("lab", "manual__2026-01-01T00:00:00+00:00")


def run(lab: Lab, cls: str = "MeanAlgorithm", strategy: str = "SimpleRunByRun", **words: Any) -> AlgorithmLayout:
    lab.prepare(lab.calibration(algorithms=lab.algorithm(cls, strategy, **words)))
    lab.take_merged()
    lab.calibrate(cls)
    return lab.layout().iteration(0).algorithm(cls)


def read_outputs(lab: Lab) -> list[Any]:
    return [row.output for row in lab.catalog.read(ExecutionRow, *DAG)]


def read_payloads(lab: Lab) -> dict[str, Any]:
    return {f"{row.name} {row.iov}": row.value for row in lab.catalog.read(PayloadRow, *DAG)}


@pytest.mark.without_root
def test_a_process_that_grows_is_started_afresh(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(lab, "GreedyAlgorithm", memory_growth=50)
    pids = [output["pid"] for output in read_outputs(lab)]
    assert len(pids) == 4
    # The first execution is what growth is measured from.
    assert len(set(pids)) == 2
    assert "grew by" in caplog.text


@pytest.mark.without_root
def test_a_process_without_a_bound_serves_all(lab: Lab) -> None:
    run(lab, "GreedyAlgorithm", memory_growth=None)
    assert len({output["pid"] for output in read_outputs(lab)}) == 1


@pytest.mark.without_root
def test_workers_are_processes_with_logs_of_their_own(lab: Lab) -> None:
    layout = run(lab, settings={"talks": True, "seconds": 0.5}, workers=2)
    logs = [layout.worker_log(number).read_text() for number in range(2)]
    assert all("calibrates" in log for log in logs)
    assert sum(log.count("calibrates") for log in logs) == 4
    assert layout.worker_log(0) == layout.log


@pytest.mark.without_root
def test_an_algorithm_may_use_several_cpus(lab: Lab) -> None:
    run(lab, "GreedyAlgorithm", cpus=3)
    assert {(output["cpus"], output["threads"]) for output in read_outputs(lab)} == {(3, "3")}


@pytest.mark.without_root
def test_an_execution_that_takes_too_long_is_ended(lab: Lab) -> None:
    with pytest.raises(AlgorithmFailed, match=r"4 of 4 executions .* did not answer within 0\.3 s"):
        run(lab, settings={"seconds": 30}, execution_timeout=0.3)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pre_algorithm_may_change_the_collected_files_and_gets_its_own_copy(lab: Lab, workers: int) -> None:
    run(lab)
    before = read_payloads(lab)
    collection = lab.layout().iteration(0).collection("default")
    merged = collection.merged_file.read_bytes()
    words: dict[str, Any] = {
        "pre_algorithm": lab.files.name("shift_all"),
        "workers": workers,
        "settings": {"seconds": 0.3},
    }
    layout = run(lab, **words)
    after = read_payloads(lab)
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert after[name]["value"] == pytest.approx(value["value"] + 7, abs=0.2)
    assert collection.merged_file.read_bytes() == merged
    assert sum(path.read_text().count("changes") for path in layout.folder.glob("*.log")) == workers
    assert list(layout.folder.glob("copies*")) == []


def test_an_algorithm_may_write_iovs_of_its_own_also_inside_a_run(lab: Lab) -> None:
    layout = run(lab, "InsideAlgorithm", "SingleIOV")
    entries = LocalDatabase(layout.database).entries()
    assert [entry.iov for entry in entries if entry.name == "ByRun"] == [
        IoV(1, 1, 1, 1),
        IoV(1, 2, 1, 2),
        IoV(1, 3, 1, 3),
        IoV(2, 1, 2, 1),
    ]
    assert [entry.iov for entry in entries if entry.name == "ByEvent"] == [IoV(1, 1, 2, 1)]
    assert read_payloads(lab)["ByEvent 1,1,2,1"][1] == {"from_event": 500, "value": 2}


@pytest.mark.without_root
def test_gaps_are_told_for_each_algorithm(lab: Lab) -> None:
    layout = run(lab, strategy="HoleStrategy")
    assert json.loads(layout.gaps.read_text()) == {
        "open": {"Mean": {"runs": [[1, 2]], "gaps": [[1, 2, 1, 2]]}},
        "filled": [],
    }


@pytest.mark.without_root
def test_a_gap_is_filled_where_the_definition_asks_for_it(lab: Lab) -> None:
    layout = run(lab, strategy="HoleStrategy", fill_gaps=True)
    assert json.loads(layout.gaps.read_text()) == {
        "open": {},
        "filled": [{"payload": "Mean", "before": [1, 1, 1, 1], "after": [1, 1, 1, 2]}],
    }
    entries = LocalDatabase(layout.database).entries()
    assert [entry.iov for entry in entries] == [IoV(1, 1, 1, 2), IoV(1, 3, 1, 3), IoV(2, 1, 2, 1)]
    assert [row.iov for row in lab.catalog.read(PayloadRow, *DAG)] == [entry.iov for entry in entries]


@pytest.mark.without_root
def test_a_strategy_writes_extra_files(lab: Lab, tmp_path: Path) -> None:
    module = tmp_path / "own.py"
    module.write_text(
        "from airflow_provider_caf.core.strategies import Commit, Execute, SingleIOV, WriteFile\n"
        "class Own(SingleIOV):\n"
        "    def plan(self, runs):\n"
        "        yield WriteFile(name='runs.txt', content='two\\nlines')\n"
        "        yield WriteFile(name='runs.json', content=[list(run) for run in runs])\n"
        "        return (yield from super().plan(runs))\n"
    )
    layout = run(lab, strategy=f"{module}:Own", workers=2)
    assert (layout.files_folder / "runs.txt").read_text() == "two\nlines"
    assert json.loads((layout.files_folder / "runs.json").read_text()) == [[1, 1], [1, 2], [1, 3], [2, 1]]
    module.write_text(module.read_text().replace("runs.txt", "../runs.txt"))
    with pytest.raises(DefinitionError, match="cannot be the name of a file"):
        lab.calibrate(generation=1)


@pytest.mark.without_root
def test_nothing_is_left_of_the_processes(lab: Lab) -> None:
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted only
    with pytest.raises(AlgorithmFailed):
        run(lab, settings={"behaviour": "crash", "seconds": 0.1}, workers=3)
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1  # noqa: PTH208 - counted only


@pytest.mark.without_root
def test_the_result_does_not_depend_on_the_number_of_workers(lab: Lab) -> None:
    found = set()
    for workers in (1, 2, 8):
        layout = run(lab, strategy="SequentialRunByRun", settings={"least": 2}, workers=workers)
        files = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in layout.database.iterdir()}
        found.add(json.dumps([files, [[list(r) for r in row.runs] for row in lab.catalog.read(ExecutionRow, *DAG)]]))
    assert len(found) == 1
