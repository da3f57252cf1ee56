"""`CAF().run()` with the stand-in for basf2: real collectors, algorithms and payloads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.payloads import parse_database
from tests.script_site import source_and_run, write_data

pytestmark = pytest.mark.slow

BEGIN = """
import sys
from airflow_provider_caf.worker.basf2.dropin import install

install()

import basf2
import ROOT
from caf import backends, strategies
from caf.framework import CAF, Calibration, Collection
from caf.utils import ExpRun, IoV


def build(name, algorithms, **words):
    collector = basf2.register_module("CaTest")
    return Calibration(name, collector, algorithms, sys.argv[1] + "/mumu/*/events.root", **words)


def make(name, iterations=0):
    algorithm = ROOT.Belle2.TestCalibrationAlgorithm()
    algorithm.setPayloadName(name)
    algorithm.setIterations(iterations)
    return algorithm


caf = CAF({"max_iterations": 3})
caf.output_dir = "results"
caf.backend = backends.Local(max_processes=2)
"""

TWO = """
rough = build("Rough", [make("Rough", iterations=1), make("Second")], max_collector_jobs=1)
rough.pre_collector_path = basf2.create_path()
rough.pre_collector_path.add_module("Progress")
before = len(rough.pre_collector_path.modules())
fine = build("Fine", make("Fine"), max_files_per_collector_job=2)
fine.strategies = strategies.SequentialRunByRun
fine.algorithms[0].params = {"iov_coverage": IoV(1, 0, -1, -1)}
fine.algorithms[0].pre_algorithm = lambda cpp, iteration: print("asked before", iteration)
fine.depends_on(rough)
for each in (fine, rough):
    caf.add_calibration(each)
caf.run()
assert caf.order == ["Rough", "Fine"], caf.order
assert {number: len(results) for number, results in rough.results.items()} == {0: 2, 1: 2}
assert len(rough.pre_collector_path.modules()) == before
assert (rough.state, fine.state, rough.max_iterations) == ("completed", "completed", 3)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, ["mumu"])
    return folder


def run_script(text: str, data: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(BEGIN + text)
    return source_and_run(f"'{sys.executable}' script.py '{data}'", folder)


def read_payloads(folder: Path) -> list[tuple[str, IoV]]:
    text = (folder / "database.txt").read_text()
    return sorted((entry.name, entry.iov) for entry in parse_database(text, str(folder)))


def test_calibrations_run_one_after_the_other(data: Path, tmp_path: Path) -> None:
    ended = run_script(TWO, data, tmp_path)
    assert ended.returncode == 0, ended.stderr
    # PyROOT says something before.
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("caf: ")]
    assert "airflow caf import-script script.py" in line
    results = tmp_path / "results"
    collected = sorted(path.relative_to(results).as_posix() for path in results.rglob("CollectorOutput.root"))
    assert [path.replace("/collector_output/default/", "/…/").rpartition("/")[0] for path in collected] == [
        "Fine/0/…/0",
        "Fine/0/…/1",
        "Rough/0/…/0",
        "Rough/1/…/0",
    ]
    assert read_payloads(results / "Rough" / "outputdb") == [
        ("Rough", IoV(1, 1, 1, 3)),
        ("Second", IoV(1, 1, 1, 3)),
    ]
    assert read_payloads(results / "Fine" / "outputdb") == [
        ("Fine", IoV(1, 0, 1, 1)),
        ("Fine", IoV(1, 2, 1, 2)),
        ("Fine", IoV(1, 3, -1, -1)),
    ]
    assert read_payloads(results / "Rough" / "0" / "algorithm_output" / "outputdb")
    assert (results / "Fine" / "0" / "algorithm_output" / "TestCalibrationAlgorithm_stdout").exists()
    assert "asked before 0" in ended.stdout


CHOSEN = """
calibration = build("Mean", make("Mean"))
calibration.files_to_iovs = {path: IoV(1, number, 1, number) for number, path in enumerate(calibration.input_files, 1)}
calibration.ignored_runs = [ExpRun(1, 2)]
caf.add_calibration(calibration)
caf.run(IoV(1, 1, 1, 2))
"""


def test_only_files_of_wanted_runs_are_collected(data: Path, tmp_path: Path) -> None:
    ended = run_script(CHOSEN, data, tmp_path)
    assert ended.returncode == 0, ended.stderr
    results = tmp_path / "results" / "Mean"
    assert len(list((results / "0" / "collector_output" / "default").iterdir())) == 1
    assert read_payloads(results / "outputdb") == [("Mean", IoV(1, 1, 1, 1))]


FAILING = """
def attempt(name, calibration, iov=None):
    caf = CAF()
    caf.output_dir = name
    caf.add_calibration(calibration)
    try:
        caf.run(iov)
    except RuntimeError as error:
        print(f"{name}: {error}", flush=True)


def build_one(algorithm=None, **words):
    return build("Mean", algorithm or make("Mean"), max_collector_jobs=1, **words)


missing = build_one()
missing.input_files = ["/none/events.root"]
attempt("missing", missing)
attempt("no_output", build_one(output_patterns=["*.mille"]))
awful = make("Mean")
awful.setAwfulCalibration(True)
attempt("awful", build_one(awful))
raising = build_one()
raising.pre_algorithms = lambda cpp, iteration: 1 / 0
attempt("raising", raising)
nothing_left = build_one()
nothing_left.files_to_iovs = dict.fromkeys(nothing_left.input_files, IoV(1, 1, 1, 1))
attempt("nothing_left", nothing_left, IoV(7, 1, 7, 2))
"""


def test_a_failure_names_the_calibration_the_job_and_the_log(data: Path, tmp_path: Path) -> None:
    ended = run_script(FAILING, data, tmp_path)
    assert ended.returncode == 0, ended.stderr
    place = f"{tmp_path}/{{}}/Mean/0"
    job = "collector_output/default/0"
    algorithm = "Algorithm TestCalibrationAlgorithm of calibration Mean failed in iteration 0"
    expected = [
        (
            "missing: The collector job Mean_default_Iteration_0_0 ended with exit code 1. "
            f"Look at {place.format('missing')}/{job}/stderr."
        ),
        (
            "no_output: The collector job Mean_default_Iteration_0_0 has left no file that matches *.mille. "
            f"Look in {place.format('no_output')}/{job}."
        ),
        f"awful: {algorithm}: FAILED. Look in {place.format('awful')}/algorithm_output.",
        f"raising: {algorithm}: exit code 1. Look in {place.format('raising')}/algorithm_output.",
        "nothing_left: The collection 'default' of calibration Mean has no input files left.",
    ]
    assert ended.stdout.splitlines()[-len(expected) :] == expected
    assert "ZeroDivisionError" in ended.stderr
    assert list(tmp_path.rglob("Mean/outputdb")) == []
