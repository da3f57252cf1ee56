"""Merging, the end of a pass and the end of a calibration, and what the catalog then says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf.batch.verdicts import SubjobStatus, Verdict
from airflow_provider_caf.core.errors import CheckpointError, InputError, JobFailed
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.iteration import IterationAction
from airflow_provider_caf.io.catalog import FailedSubjobRow, IterationRow, SubjobsRow
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.steps.decide import find_last_pass

if TYPE_CHECKING:
    from tests.unit.conftest import Lab

DAG = ("lab", "manual__2026-01-01T00:00:00+00:00")


def collect_copies(lab: Lab, words: list[str] | None = None, **more: Any) -> None:
    lab.prepare(lab.calibration(collections={"default": lab.copies(words, **more)}))
    lab.collect()


def find_outputs(lab: Lab) -> list[Path]:
    return [path for verdict in lab.open().observe().verdicts.values() for path in verdict.outputs]


def put_result(lab: Lab, codes: list[int], iteration: int = 0, algorithm: str = "MeanAlgorithm") -> None:
    """Leave what the algorithm step leaves, with one payload whose content tells the pass."""
    layout = lab.layout().iteration(iteration).algorithm(algorithm)
    layout.folder.mkdir(parents=True, exist_ok=True)
    file = layout.folder / "payload"
    file.write_bytes(b"root of pass %d" % iteration)
    database = LocalDatabase(layout.database)
    database.create()
    database.commit([("Mean", file, IoV(1, 1, 1, 2))])
    executions = [{"runs": [[1, 1], [1, 2]]}]
    layout.result.write_text(json.dumps({"version": 1, "codes": codes, "executions": executions}))


def prepare_quickly(lab: Lab, **words: Any) -> None:
    lab.prepare(lab.calibration(collections={"default": lab.copies()}, **words))


def test_outputs_are_merged_into_one_file_with_an_index(lab: Lab) -> None:
    collect_copies(lab)
    merged = lab.merge()
    assert (merged.inputs, merged.runs) == (3, 4)
    assert Path(merged.file).stat().st_size > 0
    index = json.loads(lab.layout().iteration(0).collection("default").merged_index.read_text())
    assert index["prefixes"]["Hits"]["runs"] == [[1, 1, 2], [1, 2, 3], [1, 3, 2], [2, 1, 2]]
    (row,) = lab.catalog.read(SubjobsRow, *DAG)
    assert (row.total, row.done, row.failed, row.retries) == (3, 3, 0, 0)
    assert row.wall_seconds > 0
    assert len(row.hosts) == 1
    lab.merge()
    assert len(lab.catalog.read(SubjobsRow, *DAG)) == 1


def test_an_output_that_was_removed_since_is_told_and_nothing_is_merged(lab: Lab) -> None:
    collect_copies(lab)
    gone = find_outputs(lab)[1]
    gone.unlink()
    with pytest.raises(JobFailed) as caught:
        lab.merge()
    assert "1 of 3 subjobs of collection 'default' in calibration 'vertex', iteration 0, failed." in str(caught.value)
    assert f"{gone} is not there any more" in str(caught.value)
    assert "clear the task `wait`" in str(caught.value.hint)
    assert not lab.layout().iteration(0).collection("default").merged_file.exists()
    (row,) = lab.catalog.read(SubjobsRow, *DAG)
    assert (row.done, row.failed) == (2, 1)


def test_what_is_done_is_merged_where_failures_are_allowed_and_the_result_says_so(lab: Lab) -> None:
    collect_copies(lab, max_failed_subjobs=1)
    find_outputs(lab)[1].unlink()
    merged = lab.merge()
    assert (merged.inputs, merged.failed) == (2, 1)
    assert merged.warning is not None
    assert "the calibration goes on without their data" in merged.warning
    place = lab.layout().iteration(0).collection("default")
    assert json.loads(place.failed_file.read_text()) == {"version": 1, "failed": [1], "subjobs": 3}
    put_result(lab, [0])
    lab.decide()
    assert lab.finish().failed_subjobs == {"default": 1}
    # All is there again.
    lab.collect()
    merged = lab.merge()
    assert (merged.inputs, merged.failed, merged.warning) == (3, 0, None)
    assert lab.finish().failed_subjobs == {}


def test_tries_without_a_record_are_in_the_catalog(lab: Lab) -> None:
    collect_copies(lab)
    run = lab.open()
    seen = run.observe()
    lost = Verdict(subjob=1, status=SubjobStatus.LOST, attempt=2, reason="in no queue", host="n1", log=Path("/w/e.log"))
    verdicts = {**seen.verdicts, 1: lost, 2: Verdict(subjob=2, status=SubjobStatus.MISSING)}
    changed = Observation(arrays=seen.arrays, verdicts=verdicts)
    lab.results().add_subjobs(0, "default", changed, run.read_attempts(), run.manifest.resources)
    (row,) = lab.catalog.read(FailedSubjobRow, *DAG)
    assert (row.subjob, row.attempt, row.reason, row.host, row.log) == (1, 2, "in no queue", "n1", "/w/e.log")
    assert (row.exit_code, row.signal, row.ended) == (None, None, None)


def test_the_usual_run_time_is_that_of_the_last_other_run(lab: Lab) -> None:
    results = lab.results()
    rows = [("old", 10, 100.0, 1), ("new", 10, 300.0, 2), ("none", 0, 0.0, 3), (DAG[1], 10, 9000.0, 4)]
    assert results.find_subjob_seconds("default") is None
    lab.catalog.write(
        SubjobsRow(
            dag_id=DAG[0],
            run_id=run,
            calibration="vertex",
            iteration=0,
            collection="default",
            total=10,
            done=done,
            failed=10 - done,
            retries=5,
            wall_seconds=seconds,
            updated=datetime(2026, 1, day, tzinfo=UTC),
        )
        for run, done, seconds, day in rows
    )
    # 10 subjobs in 15 tries.
    assert results.find_subjob_seconds("default") == 20.0
    assert results.find_subjob_seconds("other") is None
    assert lab.results("other").find_subjob_seconds("default") is None


def test_an_output_that_is_no_root_file_is_told(lab: Lab) -> None:
    collect_copies(lab, ["cp", str(lab.files.module), "CollectorOutput.root"], max_collector_jobs=1)
    with pytest.raises(InputError) as caught:
        lab.merge()
    text = str(caught.value)
    assert "Merging collection 'default' of calibration 'vertex' ended with exit code 1" in text
    assert "CollectorOutput.root" in text
    assert "not a ROOT file" in text
    assert "default.merge.log" in str(caught.value.hint)


def test_a_collection_without_a_file_to_merge_is_told(lab: Lab) -> None:
    script = 'cp "$1" other.root; [ "$2" = 1 ] || cp "$1" CollectorOutput.root'
    collect_copies(
        lab, ["bash", "-c", script, "-", str(lab.files.collected[0]), "{subjob}"], output_patterns=["*.root"]
    )
    with pytest.raises(InputError) as caught:
        lab.merge()
    text = str(caught.value)
    assert "1 of 3 subjobs of collection 'default' of calibration 'vertex' have no CollectorOutput.root" in text
    assert "among their outputs: 1." in text
    assert "output_patterns" in str(caught.value.hint)


def test_the_failures_of_subjobs_are_in_the_catalog(lab: Lab, tmp_path: Path) -> None:
    there = tmp_path / "there"
    script = '[ -e "$1" ] || exit 3; cp "$2" CollectorOutput.root'
    words = ["bash", "-c", script, "-", str(there), str(lab.files.collected[0])]
    lab.prepare(lab.calibration(collections={"default": lab.copies(words, max_collector_jobs=1)}))
    lab.submit()
    lab.wait(lab.open())
    with pytest.raises(JobFailed):
        lab.merge()
    (failed,) = lab.catalog.read(FailedSubjobRow, *DAG)
    assert (failed.subjob, failed.attempt, failed.exit_code, failed.signal) == (0, 0, 3, None)
    assert str(failed.log).endswith("attempt_0/stderr.log")
    there.touch()
    lab.collect()
    lab.merge()
    (row,) = lab.catalog.read(SubjobsRow, *DAG)
    assert (row.done, row.failed, row.retries) == (1, 0, 1)
    assert len(lab.catalog.read(FailedSubjobRow, *DAG)) == 1


@pytest.mark.parametrize(
    ("codes", "limit", "action", "limit_reached"),
    [
        ([0, 0], 3, IterationAction.FINISH, False),
        ([0, 1], 3, IterationAction.ITERATE, False),
        ([1, 1], 0, IterationAction.FINISH, True),
        ([0, 2], 3, IterationAction.FINISH, False),
    ],
)
def test_the_codes_decide_about_another_pass(
    lab: Lab, codes: list[int], limit: int, action: IterationAction, limit_reached: bool
) -> None:
    prepare_quickly(lab, max_iterations=limit)
    put_result(lab, codes)
    decision = lab.decide()
    assert (decision.action, decision.limit_reached) == (action, limit_reached)
    written = json.loads(lab.layout().iteration(0).decision.read_text())
    assert written == {"action": action.value, "limit_reached": limit_reached, "reason": decision.reason}


def test_deciding_again_gives_the_same(lab: Lab) -> None:
    prepare_quickly(lab)
    put_result(lab, [1])
    first = lab.decide()
    text = (lab.layout().iteration(0).database / "database.txt").read_text()
    assert lab.decide() == first
    assert (lab.layout().iteration(0).database / "database.txt").read_text() == text
    assert len(text.splitlines()) == 1


def test_an_algorithm_without_a_result_stops_the_decision(lab: Lab) -> None:
    prepare_quickly(lab)
    with pytest.raises(InputError, match="The result of algorithm 'MeanAlgorithm'"):
        lab.decide()


def test_the_payload_of_a_later_algorithm_wins(lab: Lab) -> None:
    prepare_quickly(lab, algorithms=[lab.algorithm(name="first"), lab.algorithm(name="second")])
    put_result(lab, [0], algorithm="first")
    layout = lab.layout().iteration(0).algorithm("second")
    put_result(lab, [0], algorithm="second")
    (layout.folder / "payload").write_bytes(b"root of the second")
    LocalDatabase(layout.database).commit([("Mean", layout.folder / "payload", IoV(1, 2, 1, 2))])
    lab.decide()
    entries = LocalDatabase(lab.layout().iteration(0).database).entries()
    assert entries[-1] == LocalDatabase(layout.database).entries()[-1]


def test_every_pass_has_its_row_with_start_decision_and_end(lab: Lab) -> None:
    prepare_quickly(lab)
    put_result(lab, [1])
    lab.decide()
    first, second = lab.catalog.read(IterationRow, *DAG)
    assert (first.iteration, first.decision, second.iteration, second.decision) == (0, "ITERATE", 1, None)
    assert first.started is not None
    assert first.ended is not None
    assert first.started <= first.ended
    assert second.started is not None
    assert second.ended is None
    put_result(lab, [0], 1)
    lab.decide(1)
    first, second = lab.catalog.read(IterationRow, *DAG)
    assert (second.decision, second.started is None, second.ended is None) == ("FINISH", False, False)


def test_a_pass_that_is_decided_again_forgets_the_later_ones(lab: Lab) -> None:
    prepare_quickly(lab)
    for iteration, codes in enumerate(([1], [1], [0])):
        put_result(lab, codes, iteration)
        lab.decide(iteration)
    assert [row.iteration for row in lab.catalog.read(IterationRow, *DAG)] == [0, 1, 2]
    put_result(lab, [0], 0)
    lab.decide(0)
    (row,) = lab.catalog.read(IterationRow, *DAG)
    assert (row.iteration, row.decision) == (0, "FINISH")


def test_preparing_again_forgets_what_was_before(lab: Lab) -> None:
    prepare_quickly(lab)
    put_result(lab, [1])
    lab.decide()
    prepare_quickly(lab)
    (row,) = lab.catalog.read(IterationRow, *DAG)
    assert (row.iteration, row.decision, row.ended) == (0, None, None)


def test_the_last_pass_is_the_first_that_finishes(lab: Lab) -> None:
    """A pass that is run again may be content earlier; folders of later passes are then left over."""
    prepare_quickly(lab)
    for iteration, codes in enumerate(([1], [1], [0])):
        put_result(lab, codes, iteration)
        lab.decide(iteration)
    last = find_last_pass(lab.layout(), 5)
    assert last is not None
    assert last.number == 2
    put_result(lab, [0], 1)
    lab.decide(1)
    last = find_last_pass(lab.layout(), 5)
    assert last is not None
    assert last.number == 1
    final = lab.finish()
    assert final.passes == 2
    (entry,) = LocalDatabase(lab.layout().database).entries()
    assert LocalDatabase(lab.layout().database).get_file(entry).read_bytes() == b"root of pass 1"


def test_finishing_too_early_is_refused(lab: Lab) -> None:
    prepare_quickly(lab)
    with pytest.raises(CheckpointError, match="No pass of calibration 'vertex' has decided to finish") as caught:
        lab.finish()
    assert "`decide`" in str(caught.value.hint)


def test_reaching_the_limit_is_told(lab: Lab) -> None:
    prepare_quickly(lab, max_iterations=0)
    put_result(lab, [1])
    lab.decide()
    final = lab.finish()
    assert final.limit_reached
    assert (final.passes, final.iovs) == (1, 1)


def test_runs_without_a_payload_are_told_as_gaps(lab: Lab) -> None:
    prepare_quickly(lab)
    put_result(lab, [0])
    result = lab.layout().iteration(0).algorithm("MeanAlgorithm").result
    result.write_text(json.dumps({"codes": [0], "executions": [{"runs": [[1, 1], [1, 2]]}, {"runs": [[1, 3]]}]}))
    lab.decide()
    final = lab.finish()
    assert list(final.gaps) == ["Mean"]
    assert final.gaps["Mean"].uncovered == (ExpRun(1, 3),)
    written = json.loads(lab.layout().gaps.read_text())
    assert written == {"open": {"Mean": {"runs": [[1, 3]], "gaps": []}}, "filled": []}


def test_a_result_without_gaps_says_so(lab: Lab) -> None:
    prepare_quickly(lab)
    put_result(lab, [0])
    lab.decide()
    assert lab.finish().gaps == {}
    assert json.loads(lab.layout().gaps.read_text()) == {"open": {}, "filled": []}


def test_finishing_again_gives_the_same(lab: Lab) -> None:
    prepare_quickly(lab)
    put_result(lab, [0])
    lab.decide()
    first = lab.finish()
    text = (lab.layout().database / "database.txt").read_text()
    assert lab.finish() == first
    assert (lab.layout().database / "database.txt").read_text() == text
