"""`airflow caf try`: what comes out of a few events, and what an author sees of an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_caf.worker.root import load_root

pytestmark = pytest.mark.slow

MODULE = """\
from airflow_provider_caf.worker import Algorithm, Collector, ResultCode


class Fill(Collector):
    breaks_at = -1

    def prepare(self):
        import ROOT

        self.register("x", ROOT.TH1D("x", "", 10, 0, 10))
        self.seen = 0

    def collect(self, event):
        self.seen += 1
        self.weigh(event)

    def weigh(self, event):
        self.get("x").Fill(1 / (self.seen - self.breaks_at))


class Mean(Algorithm):
    breaks = False

    def calibrate(self):
        histogram = self.get("x")
        if self.breaks:
            raise KeyError("mean")
        self.monitor("entries", histogram.GetEntries())
        self.save_payload({"entries": histogram.GetEntries()}, "Mean")
        return ResultCode.OK
"""


def write_events(path: Path, *runs: int) -> None:
    """Write 30 events of each of some runs of experiment 7."""
    text = " : ".join(f"rdfentry_ < {30 * (number + 1)} ? {run}" for number, run in enumerate(runs)) + " : 0"
    frame = load_root().RDataFrame(30 * len(runs)).Define("exp", "7").Define("run", text)
    frame.Snapshot("events", str(path), ["exp", "run"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MODULE)
    write_events(tmp_path / "first.root", 1)
    write_events(tmp_path / "second.root", 2, 3)
    return tmp_path


def write_definition(
    folder: Path, settings: str = "", algorithm: str = "", strategy: str = "SequentialRunByRun"
) -> Path:
    path = folder / "mine.yaml"
    path.write_text(
        "name: mine\ncalibrations:\n- name: one\n"
        f"  collections: {{default: {{collector: '{folder}/mine.py:Fill', input_files: ['{folder}/*.root'], "
        f"settings: {{{settings}}}}}}}\n"
        f"  algorithms: [{{algorithm: '{folder}/mine.py:Mean', strategy: {strategy}, settings: {{{algorithm}}}}}]\n"
    )
    return path


def attempt(folder: Path, path: Path, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command, and look that it leaves nothing behind."""
    (folder / "tmp").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "airflow", "caf", "try", str(path), *words],
        env={**os.environ, "AIRFLOW_HOME": str(folder / "airflow"), "TMPDIR": str(folder / "tmp")},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert list((folder / "tmp").glob("caf-try-*")) == []
    return done


def test_a_few_events_are_collected_and_calibrated(folder: Path) -> None:
    done = attempt(folder, write_definition(folder), "--events", "20")
    assert done.returncode == 0, done.stderr
    assert "── collection default, from first.root\ncollected 20 events of 1 runs" in done.stdout
    assert "Fill: events: 20 of run 7.1\n  x: TH1D with 20 entries for 7.1\n" in done.stdout
    assert "── algorithm Mean, IoV 7,1,7,1\nresult: OK\n" in done.stdout
    assert "  monitored entries: 20\n" in done.stdout
    assert 'bytes: {"entries": 20.0}' in done.stdout


def test_another_file_and_all_of_its_runs(folder: Path) -> None:
    path = write_definition(folder, strategy="SingleIOV")
    done = attempt(folder, path, "--input", str(folder / "second.root"), "--events", "45")
    assert done.returncode == 0, done.stderr
    assert "Fill: events: 30 of run 7.2, 15 of run 7.3" in done.stdout
    assert "IoV 7,2,7,3" in done.stdout
    assert 'bytes: {"entries": 45.0}' in done.stdout


def test_of_an_error_the_author_sees_the_own_lines_and_the_event(folder: Path) -> None:
    done = attempt(folder, write_definition(folder, settings="breaks_at: 12"))
    assert done.returncode == 1
    source = folder / "mine.py"
    assert done.stderr.endswith(
        "Traceback (your code only):\n"
        f'  File "{source}", line 15, in collect\n    self.weigh(event)\n'
        f'  File "{source}", line 18, in weigh\n    self.get("x").Fill(1 / (self.seen - self.breaks_at))\n'
        "ZeroDivisionError: division by zero (while reading first.root, entry 11, run 7.1)\n"
    )


def test_an_algorithm_that_breaks_can_be_looked_into(folder: Path) -> None:
    path = write_definition(folder, algorithm="breaks: true")
    done = attempt(folder, path, "--pdb", text="p histogram.GetEntries()\nq\n")
    assert done.returncode == 1
    assert "KeyError: 'mean'" in done.stderr
    assert '-> raise KeyError("mean")' in done.stdout
    assert "(Pdb) 30.0" in done.stdout


def test_mistakes_are_told(folder: Path) -> None:
    path = write_definition(folder)
    assert "has no calibration 'two'" in attempt(folder, path, "--calibration", "two").stderr
    assert "There is no file nowhere.root." in attempt(folder, path, "--input", "nowhere.root").stderr
