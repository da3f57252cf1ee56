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
    calibration = Calibration(name, collector, algorithms, sys.argv[1] + "/mumu/*/events.root", **words)
    calibration.heartbeat = 0.1
    return calibration


def make(name, iterations=0):
    algorithm = ROOT.Belle2.TestCalibrationAlgorithm()
    algorithm.setPayloadName(name)
    algorithm.setIterations(iterations)
    return algorithm


caf = CAF({"max_iterations": 3}, backend=backends.Local(max_processes=2))
caf.output_dir = "results"
caf.heartbeat = 0.1
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
assert list(caf.order.items()) == [("Rough", ["Fine"]), ("Fine", [])], caf.order
assert caf.dependencies == {"Fine": ["Rough"], "Rough": []}
assert caf.future_dependencies == {"Fine": [], "Rough": ["Fine"]}
assert (rough.iteration, rough.machine.state) == (1, "completed")
assert fine.output_database_dir == caf.output_dir + "/Fine/outputdb"
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


def list_collected(results: Path) -> list[str]:
    outputs = [path.relative_to(results) for path in results.rglob("CollectorOutput.root")]
    # There the same files have their first names.
    return sorted(path.as_posix() for path in outputs if ".backend" not in path.parts)


def read_payloads(folder: Path) -> list[tuple[str, IoV]]:
    text = (folder / "database.txt").read_text()
    return sorted((entry.name, entry.iov) for entry in parse_database(text, str(folder)))


def test_calibrations_run_one_after_the_other(data: Path, tmp_path: Path) -> None:
    ended = run_script(TWO, data, tmp_path)
    assert ended.returncode == 0, ended.stderr
    # PyROOT says something before.
    lines = [line for line in ended.stderr.splitlines() if line.startswith("caf: ")]
    assert lines[0].endswith("airflow caf import-script script.py")
    assert "caf: the collectors of Fine run on Local, all else here" in lines
    assert "caf: Rough_default_Iteration_1: 1 done" in lines
    results = tmp_path / "results"
    collected = list_collected(results)
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


OWN_RUNNER = """
from caf.runners import AlgorithmsRunner, SeqAlgorithmsRunner
from caf.utils import IoV_Result


class Twice(SeqAlgorithmsRunner):
    def run(self, iov, iteration):
        super().run(iov, iteration)
        print("ran", self.name, iteration, self.final_state, flush=True)
        self.results = {
            name: [IoV_Result(IoV(*iov), code) for iov, code in found] for name, found in self.results.items()
        }


class Failing(AlgorithmsRunner):
    def run(self, iov, iteration):
        self.final_state = self.FAILED


mean = build("Mean", make("Mean"), max_collector_jobs=1)
mean.algorithms_runner = Twice
caf.add_calibration(mean)
caf.run()
print(mean.results)
mean.algorithms_runner = Failing
mean.algorithms[0].params = {"apply_iov": IoV(1, 0, -1, -1)}
try:
    caf.run()
except RuntimeError as error:
    print(error, mean.state)
"""


def test_a_runner_of_a_script_runs_its_algorithms(data: Path, tmp_path: Path) -> None:
    ended = run_script(OWN_RUNNER, data, tmp_path)
    assert ended.returncode == 0, ended.stderr
    ran, results, failed = ended.stdout.splitlines()[-3:]
    assert (ran, results) == ("ran Mean 0 COMPLETED", "{0: [((1, 1, 1, 3), 0)]}")
    assert failed.startswith("The runner of calibration Mean failed in iteration 0: FAILED")
    assert failed.endswith(" failed")


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
    assert list_collected(results) == ["0/collector_output/default/0/CollectorOutput.root"]
    assert read_payloads(results / "outputdb") == [("Mean", IoV(1, 1, 1, 1))]


FAILING = """
def attempt(name, calibration, iov=None):
    caf = CAF()
    caf.output_dir = name
    caf.heartbeat = 0.1
    caf.add_calibration(calibration)
    try:
        caf.run(iov)
    except (RuntimeError, backends.JobError) as error:
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
    algorithm = "Algorithm TestCalibrationAlgorithm of calibration Mean failed in iteration 0"
    told = {line.partition(":")[0]: line for line in ended.stdout.splitlines() if ": " in line}
    expected = {
        "missing": "The input file /none/events.root of Job(Mean_default_Iteration_0) is not there.",
        "no_output": (
            "Collector jobs of calibration Mean failed. Mend the cause and run this again: only they run again."
        ),
        "awful": f"{algorithm}: FAILED. Look in {place.format('awful')}/algorithm_output.",
        "raising": f"{algorithm}: exit code 1. Look in {place.format('raising')}/algorithm_output.",
        "nothing_left": "The collection 'default' of calibration Mean has no input files left.",
    }
    assert {name: told[name] for name in expected} == {name: f"{name}: {text}" for name, text in expected.items()}
    assert "the declared output '*.mille' is missing" in ended.stdout
    assert "ZeroDivisionError" in ended.stderr
    assert list(tmp_path.rglob("Mean/outputdb")) == []


GOES_ON = """
from pathlib import Path

mended = Path("mended").exists()


def begin(cpp, iteration):
    print("begins", iteration, flush=True)
    if iteration == 1 and not mended:
        raise ValueError("not mended")


mean = build("Mean", make("Mean", iterations=1), max_collector_jobs=1)
mean.pre_algorithms = begin
mean.algorithms[0].params = {"apply_iov": IoV(1, 0, -1, -1)} if Path("changed").exists() else {}
caf.add_calibration(mean)
caf.run()
assert {number: len(results) for number, results in mean.results.items()} == {0: 1, 1: 1}
"""


def test_a_script_goes_on_where_it_failed(data: Path, tmp_path: Path) -> None:
    def run(code: int) -> list[str]:
        ended = run_script(GOES_ON, data, tmp_path)
        assert ended.returncode == code, ended.stderr
        return [line for line in ended.stdout.splitlines() if line.startswith("begins")]

    assert run(1) == ["begins 0", "begins 1"]
    (tmp_path / "mended").touch()
    assert run(0) == ["begins 1"]
    assert run(0) == []
    assert read_payloads(tmp_path / "results" / "Mean" / "outputdb") == [("Mean", IoV(1, 1, 1, 3))]
    tries = sorted(tmp_path.rglob("attempt_*"))
    assert [path.name for path in tries] == ["attempt_0", "attempt_0"]
    # What is made of other words is made again, and so is what depends on it.
    (tmp_path / "changed").touch()
    assert run(0) == ["begins 0", "begins 1"]
    assert read_payloads(tmp_path / "results" / "Mean" / "outputdb") == [("Mean", IoV(1, 0, -1, -1))]


BY_HAND = """
import time
from caf.state_machines import CalibrationMachine, ConditionError


def wait_for(step):
    while True:
        try:
            return step()
        except ConditionError:
            time.sleep(0.1)


mean = build("Mean", make("Mean", iterations=1), max_collector_jobs=1)
mean.max_iterations = 3
machine = CalibrationMachine(mean)
seen = [mean.state]
for _ in range(2):
    machine.submit_collector()
    seen.append(mean.state)
    wait_for(lambda: machine.complete())
    seen.append(mean.state)
    machine.run_algorithms()
    seen.append(mean.state)
print(*seen, mean.iteration, len(mean.results))

# What was collected is found again from there.
again = CalibrationMachine(mean, initial_state="collector_completed", iteration=1)
again.run_algorithms()
print(mean.state)

broken = build("Broken", make("Broken"), max_collector_jobs=1, output_patterns=["*.mille"])
machine = CalibrationMachine(broken)
machine.submit_collector()
wait_for(lambda: machine.fail())
machine.fail_fully()
print(broken.state)
awful = make("Awful")
awful.setAwfulCalibration(True)
bad = build("Awful", awful, max_collector_jobs=1)
machine = CalibrationMachine(bad)
machine.submit_collector()
wait_for(lambda: machine.complete())
machine.run_algorithms()
print(bad.state, machine.failure)
"""


def test_a_machine_can_be_driven_by_hand(data: Path, tmp_path: Path) -> None:
    ended = run_script(BY_HAND, data, tmp_path)
    assert ended.returncode == 0, ended.stderr
    seen, again, broken, awful = ended.stdout.splitlines()[-4:]
    assert seen == (
        "init running_collector collector_completed init running_collector collector_completed completed 1 2"
    )
    assert (again, broken, awful.partition(" ")[0]) == ("completed", "failed", "algorithms_failed")
    assert "Algorithm TestCalibrationAlgorithm of calibration Awful failed in iteration 0: FAILED" in awful
    assert read_payloads(tmp_path / "Mean" / "outputdb") == [("Mean", IoV(1, 1, 1, 3))]
    assert len(list(tmp_path.rglob("Mean/**/attempt_*"))) == 2


ELSEWHERE = """
from pathlib import Path

mean = build("Mean", make("Mean"))
caf.add_calibration(mean)
Path("results").mkdir()
try:
    caf.run()
except RuntimeError as error:
    print(error)
Path("results").rmdir()
mean.backend = backends.Slurm()
try:
    caf.run()
except backends.BackendError as error:
    print(error)
"""


def test_a_calibration_has_a_backend_of_its_own_and_folders_of_others_are_left_alone(
    data: Path, tmp_path: Path
) -> None:
    ended = run_script(ELSEWHERE, data, tmp_path)
    assert ended.returncode == 0, ended.stderr
    taken, no_release = ended.stdout.splitlines()[-2:]
    assert "is there already, and no CAF.run made it" in taken
    # Jobs of a batch system do not have the environment of the script.
    assert "There is no $BELLE2_TOOLS" in no_release
