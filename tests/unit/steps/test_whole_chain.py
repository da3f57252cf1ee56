"""Two calibrations from input files to final payloads, with real collectors, algorithms and passes.

The first one finds a shift in two passes and has two algorithms; the second one depends on it and has two collections.
Everything is run once, and the tests look at what is there then.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from airflow_provider_caf import Algorithm, Collection
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.iteration import IterationAction
from airflow_provider_caf.io.catalog import ExecutionRow, IterationRow, PayloadRow, SubjobsRow
from airflow_provider_caf.io.local_database import LocalDatabase

if TYPE_CHECKING:
    from tests.unit.conftest import Lab, MakeLab

DAG = ("lab", "manual__2026-01-01T00:00:00+00:00")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, make_lab: MakeLab) -> Lab:
    lab = make_lab(tmp_path_factory.mktemp("chain"))
    name = lab.files.name
    lab.prepare(
        lab.calibration(
            "shift",
            [
                Algorithm(name("ShiftAlgorithm"), params={"apply_iov": [0, 0, -1, -1]}),
                Algorithm(name("ReadingAlgorithm"), settings={"reads": ["Shift"]}),
            ],
            max_collector_jobs=2,
            max_iterations=3,
        )
    )
    assert lab.run_pass(0, "shift").action is IterationAction.ITERATE
    assert lab.run_pass(1, "shift").action is IterationAction.FINISH
    lab.finish("shift")
    lab.prepare(
        lab.calibration(
            "gain",
            [
                Algorithm(name("MeanAlgorithm"), "SequentialRunByRun", settings={"payload": "Mean"}, prefix="Hits"),
                Algorithm(name("ReadingAlgorithm"), settings={"reads": ["Mean", "Shift"]}, prefix="Other"),
            ],
            collections={
                "hits": Collection(
                    name("HitCollector"), lab.files.events, settings={"seen": "Shift"}, max_collector_jobs=2
                ),
                "other": Collection(
                    name("OtherCollector"),
                    lab.files.events,
                    settings={"scale": 2.0},
                    pre_collector=name("skim"),
                    max_collector_jobs=1,
                ),
            },
            depends_on=["shift"],
        ),
        ancestors=("shift",),
    )
    assert lab.run_pass(0, "gain").action is IterationAction.FINISH
    lab.finish("gain")
    return lab


def read_output(lab: Lab, calibration: str, algorithm: str, iteration: int) -> object:
    rows = lab.catalog.read(ExecutionRow, *DAG, calibration)
    return next(row.output for row in rows if (row.algorithm, row.iteration) == (algorithm, iteration))


def test_a_second_pass_collects_with_the_payloads_of_the_first(chain: Lab) -> None:
    """All hits lie around the shift of the first pass, so that the second one finds nothing left."""
    outputs = [read_output(chain, "shift", "ReadingAlgorithm", iteration) for iteration in (0, 1)]
    mean = (10 + 12 + 20 + 22 + 24 + 30 + 32 + 40 + 44) / 9
    assert outputs[0] == {"Shift": {"value": pytest.approx(mean, abs=0.1), "iteration": 0}}
    assert outputs[1] == {"Shift": {"value": pytest.approx(mean, abs=0.1), "iteration": 1}}


def test_the_final_database_is_that_of_the_last_pass(chain: Lab) -> None:
    layout = chain.layout("shift")
    final, last = LocalDatabase(layout.database), LocalDatabase(layout.iteration(1).database)
    assert final.entries() == last.entries()
    assert final.verify() > 0
    assert [(entry.name, entry.iov) for entry in final.entries()] == [
        ("Shift", IoV(0, 0, -1, -1)),
        ("Read", IoV(1, 1, 2, 1)),
    ]


def test_the_database_of_the_run_has_every_calibration_that_saves_its_payloads(chain: Lab) -> None:
    run = LocalDatabase(chain.layout("gain").run_database)
    own = {name: LocalDatabase(chain.layout(name).database).entries() for name in ("shift", "gain")}
    # `Read` is made by both for the same runs: that of the calibration that depends on the other one wins.
    replaced = {(entry.name, entry.iov) for entry in own["gain"]}
    kept = {entry for entry in own["shift"] if (entry.name, entry.iov) not in replaced}
    assert len(kept) == len(own["shift"]) - 1
    assert set(run.entries()) == {*kept, *own["gain"]}
    assert run.verify() > 0


def test_each_pass_keeps_its_own_folder(chain: Lab) -> None:
    for iteration in (0, 1):
        this = chain.layout("shift").iteration(iteration)
        assert this.collection("default").merged_file.exists()
        assert this.database.joinpath("database.txt").exists()
    revisions = {
        chain.layout("shift").iteration(number).database.joinpath("database.txt").read_text() for number in (0, 1)
    }
    assert len(revisions) == 2


def test_collectors_see_the_payloads_of_the_calibrations_they_depend_on(chain: Lab) -> None:
    run = chain.open("hits", name="gain")
    (array,) = run.observe().arrays
    logs = [
        (run.folders.attempt_folder(subjob, 0) / "stdout.log").read_text(encoding="utf-8")
        for subjob in array.array.subjobs
    ]
    assert "saw 1.1 {" in logs[0]
    assert all("'iteration': 1" in log for log in logs)


def test_algorithms_see_both_nearest_first(chain: Lab) -> None:
    output = read_output(chain, "gain", "ReadingAlgorithm", 0)
    assert isinstance(output, dict)
    assert output["Shift"]["iteration"] == 1
    assert output["Mean"] == {"value": pytest.approx(11.0), "iteration": 0}


def test_each_algorithm_reads_its_own_collection(chain: Lab) -> None:
    layout = chain.layout("gain").iteration(0)
    prefixes = {
        name: list(json.loads(layout.collection(name).merged_index.read_text())["prefixes"])
        for name in ("hits", "other")
    }
    assert prefixes == {"hits": ["Hits"], "other": ["Other"]}
    payloads = [row for row in chain.catalog.read(PayloadRow, *DAG, "gain") if row.name == "Mean"]
    assert [row.value["value"] for row in payloads if isinstance(row.value, dict)] == pytest.approx(
        [11.0, 22.0, 31.0, 42.0]
    )


def test_what_runs_before_the_collector_ran_in_its_folder(chain: Lab) -> None:
    layout = chain.layout("gain").iteration(0).collection("other")
    assert (layout.jobs.attempt_folder(0, 0) / "skimmed").read_text() == "yes"


def test_payloads_of_the_last_pass_are_marked_as_final(chain: Lab) -> None:
    final = {(row.calibration, row.iteration) for row in chain.catalog.read(PayloadRow, *DAG) if row.final}
    rest = {(row.calibration, row.iteration) for row in chain.catalog.read(PayloadRow, *DAG) if not row.final}
    assert final == {("shift", 1), ("gain", 0)}
    assert rest == {("shift", 0)}


def test_the_catalog_has_every_pass_and_every_collection(chain: Lab) -> None:
    passes = [(row.calibration, row.iteration, row.decision) for row in chain.catalog.read(IterationRow, *DAG)]
    assert sorted(passes) == [("gain", 0, "FINISH"), ("shift", 0, "ITERATE"), ("shift", 1, "FINISH")]
    subjobs = [
        (row.calibration, row.iteration, row.collection, row.done) for row in chain.catalog.read(SubjobsRow, *DAG)
    ]
    assert sorted(subjobs) == [
        ("gain", 0, "hits", 2),
        ("gain", 0, "other", 1),
        ("shift", 0, "default", 2),
        ("shift", 1, "default", 2),
    ]


def test_every_step_can_be_run_again_and_collects_nothing_again(chain: Lab) -> None:
    layout = chain.layout("gain").iteration(0)
    merged = layout.collection("hits").merged_index.read_text()
    database = (layout.database / "database.txt").read_text()
    assert chain.submit("hits", 0, "gain") == ()
    assert chain.submit("other", 0, "gain") == ()
    chain.merge("hits", 0, "gain")
    assert layout.collection("hits").merged_index.read_text() == merged
    chain.calibrate("MeanAlgorithm", 0, "gain")
    assert chain.decide(0, "gain").action is IterationAction.FINISH
    assert (layout.database / "database.txt").read_text() == database


def test_a_changed_setting_makes_the_subjobs_run_again(chain: Lab) -> None:
    """Last of all: it leaves jobs behind that nobody waits for, and ends them."""
    layout = chain.layout("gain").manifest("hits")
    manifest = json.loads(layout.read_text())
    manifest["collection"]["settings"] = {"scale": 3.0}
    layout.write_text(json.dumps(manifest))
    run = chain.open("hits", 0, "gain")
    run.write_jobs()
    chain.wait(run)
    assert {verdict.record for verdict in run.observe().verdicts.values()} == {None}
    assert run.submit_missing().submitted == (0, 1)
    run.cancel()
    chain.wait(run)
