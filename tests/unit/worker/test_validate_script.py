"""Which files of a validation are kept."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_caf.worker.basf2.validate_script import build_results, find_kept


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_are_looked_for_in_the_results_and_in_what_the_script_has_written(tmp_path: Path) -> None:
    """The experiment's tool knows the results alone."""
    run, results, files = tmp_path / "run" / "Mask", tmp_path / "calibration_results", tmp_path / "files"
    write(run / "outputdb" / "database.txt", run / "0" / "collector_output" / "default" / "0" / "debug.root")
    write(files / "plots" / "mean.pdf", files / "notes.txt")
    build_results(results, {"Mask": run})
    assert find_kept(["debug.root", "plots/*.pdf", "stdout", "*_stdout", "nothing.root"], files, results) == {
        "files": ["plots/mean.pdf"],
        "results": ["Mask/0/collector_output/default/0/debug.root"],
        "missing": ["nothing.root"],
    }
    assert find_kept(["*.txt"], files, results) == {
        "files": ["notes.txt"],
        "results": ["Mask/outputdb/database.txt"],
        "missing": [],
    }
