"""`airflow caf try`, started as a user starts it: in a process of its own, with the real ROOT."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TOP = Path(__file__).resolve().parents[3]
NO_ROOT = TOP / "tests" / "integration" / "no_root"

MODULE = """\
from airflow_provider_caf.worker import Algorithm, Collector, ResultCode


class Hits(Collector):
    breaks_at = -1

    def prepare(self):
        import ROOT

        self.register("x", ROOT.TH1D("x", "", 100, 0, 100))

    def collect(self, event):
        if event.count == self.breaks_at:
            divide(event)
        self.get("x").Fill(event.x)


def divide(event):
    local = event.count
    return local / 0


class Mean(Algorithm):
    least = 1

    def calibrate(self):
        x = self.get("x")
        if x.GetEntries() < self.least:
            return ResultCode.NOT_ENOUGH_DATA
        self.save_payload({"mean": x.GetMean()}, "Mean")
        self.monitor("entries", x.GetEntries())
        self.monitor("mean", x.GetMean(), x.GetMeanError() + 0.5)
        self.monitor("unknown", float("nan"))
        return ResultCode.OK


class Uses(Algorithm):
    def calibrate(self):
        print("read", self.get_payload("Mean"))
        return ResultCode.OK
"""


class Lab:
    """A folder with a definition, its module and its data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "airflow"
        self.definition = folder / "hits.yaml"
        (folder / "hits_lab.py").write_text(MODULE)
        self.write()

    def write(self, settings: str = "{}", least: int = 1, more: str = "") -> None:
        self.definition.write_text(
            f"""name: hits
{more}
calibrations:
  - name: first
    collections:
      default: {{collector: "hits_lab:Hits", input_files: ["{self.folder}/*.root"], settings: {settings}}}
    algorithms:
      - algorithm: hits_lab:Mean
        settings: {{least: {least}}}
      - hits_lab:Uses
"""
        )

    def run(self, *words: str, typed: str = "", root: bool = True) -> subprocess.CompletedProcess[str]:
        variables = {
            **os.environ,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:////nowhere/airflow.db",
            **({} if root else {"PYTHONPATH": str(NO_ROOT)}),
        }
        argv = [sys.executable, "-m", "airflow", "caf", "try", str(self.definition), *words]
        return subprocess.run(
            argv, env=variables, cwd=self.folder, input=typed, capture_output=True, text=True, check=False
        )


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    make = "\n".join(
        (
            "import ROOT",
            "frame = ROOT.RDataFrame(300).Define('exp', '11').Define('run', 'rdfentry_ < 60 ? 8 : 9')",
            "frame = frame.Define('x', '50.0').Define('count', '(int) rdfentry_')",
            "frame.Snapshot('events', 'muons_e11.root')",
        )
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", make], cwd=tmp_path, check=True, capture_output=True)
    return Lab(tmp_path)


@pytest.mark.parametrize("root", [True, False], ids=["this Python", "the jobs' Python"])
def test_a_trial_prints_what_was_filled_and_the_payload(lab: Lab, root: bool) -> None:
    done = lab.run(root=root)
    assert done.returncode == 0, done.stderr
    for line in (
        f"  {lab.folder}/muons_e11.root: 300 events, runs 11.8 to 11.9; at most 100 are tried",
        "collected 100 events of 2 runs",
        "  run 11.8: 60 events",
        "  Hits/x, run 11.9: TH1D, 40 entries, mean 50, standard deviation 0, 0 below and 0 above",
        "algorithm Mean, IoV 11,8,11,9",
        '  payload Mean, IoV 11,8,11,9: {"mean": 50.0}',
        "  monitored entries: 100.0",
        "  monitored mean: 50.0 +- 0.5",
        "  monitored unknown: missing",
        "read {'mean': 50.0}",
    ):
        assert line in done.stdout.splitlines()
    # No database was there, and none was needed; nothing but the data is left.
    assert {path.suffix for path in lab.folder.iterdir()} <= {".root", ".yaml", ".py", ""}


@pytest.mark.parametrize("root", [True, False], ids=["this Python", "the jobs' Python"])
def test_what_breaks_is_told_with_the_lines_of_its_author(lab: Lab, root: bool) -> None:
    lab.write(settings="{breaks_at: 70}")
    done = lab.run(root=root)
    assert done.returncode == 1
    told = done.stderr[done.stderr.index("Traceback") :]
    assert told.endswith(f"while reading muons_e11.root, entry 70, run 11.9, in {lab.folder}\n")
    line = MODULE.splitlines().index("    return local / 0") + 1
    assert f'File "{lab.folder}/hits_lab.py", line {line}, in divide' in told
    assert told.count("File ") == 2
    assert "ZeroDivisionError" in told
    # Beyond the events that were asked for nothing breaks.
    assert lab.run("-n", "70", root=root).returncode == 0


@pytest.mark.parametrize("root", [True, False], ids=["this Python", "the jobs' Python"])
def test_the_debugger_stops_where_it_breaks_while_the_event_is_there(lab: Lab, root: bool) -> None:
    lab.write(settings="{breaks_at: 70}")
    done = lab.run("--pdb", typed="p local + 1000\np event.x\nup\np self.get('x').GetEntries()\nq\n", root=root)
    assert done.returncode == 1
    assert "-> return local / 0" in done.stdout
    for value in ("1070", "50.0", "10.0"):
        assert f"(Pdb) {value}\n" in done.stdout
    assert "while reading muons_e11.root, entry 70" in done.stderr


def test_an_algorithm_without_success_ends_the_trial(lab: Lab) -> None:
    lab.write(least=1000)
    done = lab.run()
    assert done.returncode == 0, done.stderr
    assert "result: NOT_ENOUGH_DATA" in done.stdout
    assert "Uses" not in done.stdout


def test_a_connection_that_only_the_database_has_is_not_asked_for(lab: Lab) -> None:
    lab.write(more="connection: nowhere")
    done = lab.run()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--calibration", "fist"], "There is no calibration 'fist' that collects."),
        (["--data", "nowhere.root"], "The input file nowhere.root does not exist."),
        (["-n", "0"], "'0' is no number of at least 1"),
    ],
)
def test_what_cannot_be_tried_is_refused(lab: Lab, words: list[str], told: str) -> None:
    done = lab.run(*words)
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistake_in_a_setting_has_no_traceback(lab: Lab) -> None:
    lab.write(settings="{break_at: 1}")
    done: Any = lab.run()
    assert done.returncode == 1
    assert "has no setting 'break_at'" in done.stderr
    assert "Traceback" not in done.stderr
