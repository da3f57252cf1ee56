"""One algorithm in one pass, with real algorithm processes over a merged file that is there already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf import Algorithm, Collection
from airflow_provider_caf.core.errors import (
    AlgorithmDied,
    AlgorithmFailed,
    CafError,
    DefinitionError,
    InputError,
    NotEnoughData,
)
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies import FinalState
from airflow_provider_caf.io.catalog import ExecutionRow, PayloadRow
from airflow_provider_caf.io.local_database import LocalDatabase

if TYPE_CHECKING:
    from tests.unit.conftest import Lab

DAG = ("lab", "manual__2026-01-01T00:00:00+00:00")

WITH_ROOT = pytest.mark.without_root(False)


def set_up(lab: Lab, *algorithms: object, **words: Any) -> None:
    lab.prepare(lab.calibration(algorithms=list(algorithms), **words))
    lab.take_merged()


def list_iovs(lab: Lab, algorithm: str = "MeanAlgorithm") -> list[IoV]:
    database = LocalDatabase(lab.layout().iteration(0).algorithm(algorithm).database)
    database.verify()
    return [entry.iov for entry in database.entries()]


def test_a_strategy_commits_a_payload_for_each_run(lab: Lab) -> None:
    set_up(lab, lab.algorithm())
    result = lab.calibrate()
    assert result.outcome.state is FinalState.COMPLETED
    assert result.executions == 4
    assert result.codes == (ResultCode.OK,) * 4
    runs = [IoV(1, 1, 1, 1), IoV(1, 2, 1, 2), IoV(1, 3, 1, 3), IoV(2, 1, 2, 1)]
    assert [each.entry.iov for each in result.committed] == runs
    assert [each.value["value"] for each in result.committed] == pytest.approx([11.0, 22.0, 31.0, 42.0])
    assert list_iovs(lab) == runs


def test_the_catalog_has_what_the_database_has(lab: Lab) -> None:
    set_up(lab, lab.algorithm())
    lab.calibrate()
    executions = lab.catalog.read(ExecutionRow, *DAG)
    assert [(row.key, row.runs, row.code) for row in executions] == [
        (number, (run,), ResultCode.OK)
        for number, run in enumerate((ExpRun(1, 1), ExpRun(1, 2), ExpRun(1, 3), ExpRun(2, 1)))
    ]
    assert [row.output for row in executions] == [
        {"entries": 2.0},
        {"entries": 3.0},
        {"entries": 2.0},
        {"entries": 2.0},
    ]
    payloads = lab.catalog.read(PayloadRow, *DAG)
    assert [(row.name, row.execution, row.final) for row in payloads] == [
        ("Mean", number, False) for number in range(4)
    ]
    database = LocalDatabase(lab.layout().iteration(0).algorithm("MeanAlgorithm").database)
    assert [row.revision for row in payloads] == [entry.revision for entry in database.entries()]


@pytest.mark.without_root
def test_running_again_replaces_what_the_first_run_left(lab: Lab) -> None:
    set_up(lab, lab.algorithm())
    lab.calibrate()
    first = list_iovs(lab)
    folder = lab.layout().iteration(0).algorithm("MeanAlgorithm")
    (folder.staging_folder / "left_over").write_text("x")
    lab.calibrate(generation=1)
    assert list_iovs(lab) == first
    assert not (folder.staging_folder / "left_over").exists()
    assert len(lab.catalog.read(ExecutionRow, *DAG)) == 4
    assert len(lab.catalog.read(PayloadRow, *DAG)) == 4


@pytest.mark.without_root
def test_a_run_with_fewer_payloads_leaves_no_row_of_the_one_before(lab: Lab) -> None:
    set_up(lab, lab.algorithm())
    lab.calibrate()
    lab.prepare(lab.calibration(algorithms=lab.algorithm(strategy="SingleIOV")))
    lab.take_merged()
    lab.calibrate()
    assert [row.iov for row in lab.catalog.read(PayloadRow, *DAG)] == [IoV(1, 1, 2, 1)]
    assert [row.key for row in lab.catalog.read(ExecutionRow, *DAG)] == [0]


@pytest.mark.without_root
def test_ignored_and_not_requested_runs_are_left_out(lab: Lab) -> None:
    iovs = {str(path): [1, 1, 2, 1] for path in lab.files.events}
    collection = Collection(lab.files.name("HitCollector"), lab.files.events, files_to_iovs=iovs)
    set_up(
        lab,
        lab.algorithm(),
        collections={"default": collection},
        ignored_runs=[(1, 2)],
        requested_iov=(1, 2, 2, 1),
    )
    result = lab.calibrate()
    assert [each.entry.iov for each in result.committed] == [IoV(1, 3, 1, 3), IoV(2, 1, 2, 1)]


@pytest.mark.without_root
def test_no_run_left_is_not_enough_data(lab: Lab) -> None:
    set_up(lab, lab.algorithm(), ignored_runs=[(1, 1), (1, 2), (1, 3), (2, 1)])
    with pytest.raises(NotEnoughData) as caught:
        lab.calibrate()
    assert "Algorithm 'MeanAlgorithm' of calibration 'vertex' has no run to work on: 4 were collected" in str(
        caught.value
    )
    assert "ignored_runs" in str(caught.value.hint)


@pytest.mark.without_root
def test_a_strategy_that_fails_keeps_what_it_committed(lab: Lab) -> None:
    set_up(lab, lab.algorithm(strategy="FirstRunsStrategy"))
    with pytest.raises(AlgorithmFailed) as caught:
        lab.calibrate()
    text = str(caught.value)
    assert (
        "FirstRunsStrategy of algorithm 'MeanAlgorithm' in calibration 'vertex' failed: the second run looks strange"
        in text
    )
    assert "MeanAlgorithm.log" in text
    assert "1 payloads are committed and kept in" in str(caught.value.hint)
    assert list_iovs(lab) == [IoV(1, 1, 1, 1)]
    assert [row.iov for row in lab.catalog.read(PayloadRow, *DAG)] == [IoV(1, 1, 1, 1)]
    assert [row.key for row in lab.catalog.read(ExecutionRow, *DAG)] == [0, 1]
    result = json.loads(lab.layout().iteration(0).algorithm("MeanAlgorithm").result.read_text())
    assert result["state"] == "FAILED"
    assert result["reason"] == "the second run looks strange"


@pytest.mark.without_root
def test_a_mistake_in_the_code_of_a_strategy_is_shown_as_such(lab: Lab) -> None:
    set_up(lab, lab.algorithm(strategy="BrokenStrategy"))
    with pytest.raises(AlgorithmFailed) as caught:
        lab.calibrate()
    text = str(caught.value)
    assert "BrokenStrategy of algorithm 'MeanAlgorithm' of calibration 'vertex' raised TypeError: tuple indices" in text
    assert 'complete(runs["first"])' in text
    assert caught.value.hint == "Correct the strategy."
    assert list_iovs(lab) == [IoV(1, 1, 1, 1)]


@pytest.mark.parametrize(
    ("behaviour", "error", "reason"),
    [
        ("exit", AlgorithmDied, "ended with exit code 3 before it answered"),
        # ROOT has handlers for this one.
        pytest.param("crash", AlgorithmDied, "was ended by SIGSEGV (signal 11)", marks=WITH_ROOT),
        ("kill", AlgorithmDied, "was ended by SIGKILL (signal 9)"),
        ("hang", AlgorithmDied, "did not answer within 15 s and was ended"),
        ("close", AlgorithmDied, "closed its pipes before it answered"),
        ("raise", AlgorithmFailed, "raised RuntimeError: no convergence after 17 steps"),
        ("nonsense", DefinitionError, "gave 'fine', which is no result code"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.without_root
def test_an_execution_that_breaks_is_told_and_the_other_runs_survive(
    lab: Lab, behaviour: str, error: type[CafError], reason: str, workers: int
) -> None:
    settings = {"behaviour": behaviour}
    set_up(lab, lab.algorithm(settings=settings, workers=workers, execution_timeout=15 if behaviour == "hang" else 60))
    with pytest.raises(error) as caught:
        lab.calibrate()
    assert "1 of 4 executions of algorithm 'MeanAlgorithm' in calibration 'vertex' broke" in str(caught.value)
    assert "One was for run 1.3: " in str(caught.value)
    assert reason in str(caught.value)
    assert "3 payloads are committed" in str(caught.value.hint)
    if isinstance(caught.value, AlgorithmFailed):
        assert "MeanAlgorithm" in str(caught.value.log)
        assert behaviour in ("exit", "hang", "close", "kill") or caught.value.log_tail
    assert list_iovs(lab) == [IoV(1, 1, 1, 1), IoV(1, 2, 1, 2), IoV(2, 1, 2, 1)]
    rows = lab.catalog.read(ExecutionRow, *DAG)
    assert [row.code for row in rows] == [ResultCode.OK, ResultCode.OK, ResultCode.FAILURE, ResultCode.OK]


@pytest.mark.without_root
def test_an_algorithm_that_was_mended_begins_afresh(lab: Lab) -> None:
    set_up(lab, lab.algorithm(settings={"behaviour": "raise"}))
    with pytest.raises(AlgorithmFailed):
        lab.calibrate()
    lab.prepare(lab.calibration(algorithms=lab.algorithm()))
    assert lab.calibrate().executions == 4
    assert len(list_iovs(lab)) == 4


OWN_ALGORITHM = """
from airflow_provider_caf.worker import Algorithm, ResultCode
from airflow_provider_caf.io.catalog import ExecutionRow, PayloadRow


class Own(Algorithm):
    def calibrate(self):
        self.save_payload({value}, "Own")
        return ResultCode.OK
"""


def test_corrected_code_of_an_algorithm_is_used_without_preparing_again(lab: Lab, tmp_path: Path) -> None:
    module = tmp_path / "own_algorithms.py"
    module.write_text(OWN_ALGORITHM.format(value="1 / 0"))
    set_up(lab, Algorithm(f"{module}:Own", "SingleIOV"))
    with pytest.raises(AlgorithmFailed, match="ZeroDivisionError"):
        lab.calibrate("Own")
    module.write_text(OWN_ALGORITHM.format(value="42"))
    assert [payload.value for payload in lab.calibrate("Own").committed] == [42]


def test_a_later_algorithm_sees_the_payloads_of_those_before(lab: Lab) -> None:
    first = lab.algorithm(strategy="SingleIOV", settings={"payload": "Early"})
    second = lab.algorithm("ReadingAlgorithm", "SingleIOV", settings={"reads": ["Early"]})
    set_up(lab, first, second)
    lab.calibrate()
    lab.calibrate("ReadingAlgorithm")
    (row,) = [row for row in lab.catalog.read(ExecutionRow, *DAG) if row.algorithm == "ReadingAlgorithm"]
    assert row.output == {"Early": {"iteration": 0, "value": pytest.approx(26.0)}}


def test_the_chain_of_an_algorithm_nearest_first(lab: Lab) -> None:
    algorithms = [lab.algorithm(name=name) for name in ("one", "two", "three")]
    lab.prepare(lab.calibration(algorithms=algorithms), ancestors=("near", "far"))
    layout = lab.layout()
    this, before = layout.iteration(1), layout.iteration(0)
    assert [entry.value for entry in lab.strategy("three", 1).build_chain()] == [
        str(this.algorithm("two").database),
        str(this.algorithm("one").database),
        str(before.database),
        str(layout.sibling("near").database),
        str(layout.sibling("far").database),
    ]
    assert [entry.value for entry in lab.strategy("one", 0).build_chain()] == [
        str(layout.sibling("near").database),
        str(layout.sibling("far").database),
    ]


@pytest.mark.without_root
def test_a_payload_that_nobody_has_is_told(lab: Lab) -> None:
    set_up(lab, lab.algorithm("ReadingAlgorithm", "SingleIOV", settings={"reads": ["Missing"]}))
    with pytest.raises(Exception, match=r"There is no payload 'Missing' for run 1\.1\."):
        lab.calibrate("ReadingAlgorithm")


@pytest.mark.without_root
def test_what_runs_before_the_algorithm_runs_once_in_its_folder(lab: Lab) -> None:
    set_up(lab, lab.algorithm(pre_algorithm=lab.files.name("warm_up")))
    lab.calibrate()
    assert (lab.layout().iteration(0).algorithm("MeanAlgorithm").folder / "warm").read_text() == "yes"


def test_a_collection_that_was_not_merged_is_an_error_that_names_it(lab: Lab) -> None:
    lab.prepare(lab.calibration(algorithms=lab.algorithm()))
    with pytest.raises(InputError, match=r"default\.outputs\.json"):
        lab.calibrate()
