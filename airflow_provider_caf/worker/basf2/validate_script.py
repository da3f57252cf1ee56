"""Run a validation script on the finished output of a calibration: `validate request.json`.

::

    {"version": 1, "script": "/path/to/validation.py", "caf": "dropin", "script_folders": [],
     "requested_iov": [exp, run, exp, run], "expert_config": {},
     "calibrations": {<name in the script>: <folder of the calibration in the run>},
     "input_data_path": "/path"}

A validation script is a module with `settings`, a `ValidationSettings`, and
`run_validation(job_path, input_data_path, requested_iov, expert_config)`. `job_path` is a folder in the shape that the
experiment's framework leaves: `<job_path>/<calibration>/outputdb/database.txt`, `<calibration>/<iteration>/…`. The
script runs in the folder `files`, and what it writes stays there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.worker.basf2.script import guard_script, import_script, set_up_caf
from airflow_provider_caf.worker.requests import read_request

RESULTS_FOLDER = "calibration_results"
FILES_FOLDER = "files"
SUMMARY_FILE = "validation.json"


def main(argv: Sequence[str]) -> int:
    """Run the validation that `request.json` asks for, in a folder of the current one."""
    parser = argparse.ArgumentParser(prog="validate", description="Run a validation script.")
    parser.add_argument("request", help="path of request.json")
    options = parser.parse_args(argv)
    run_validation(read_request(options.request, "request"))
    return 0


def run_validation(request: Mapping[str, Any]) -> None:
    """Run a validation script, and keep which files it wants to be kept.

    :raises DefinitionError: if it cannot be used, raises, or does not leave a file that its settings name.
    """
    script = str(request["script"])
    set_up_caf(request["caf"], request.get("script_folders") or ())
    module = import_script(script)
    for name in ("settings", "run_validation"):
        if not hasattr(module, name):
            raise DefinitionError(
                f"The validation script {script} has no {name!r}.",
                hint="It has settings = ValidationSettings(…) and a function run_validation.",
            )
    results = Path(RESULTS_FOLDER).absolute()
    build_results(results, {name: Path(folder).resolve() for name, folder in request["calibrations"].items()})
    # As the reference hands it in, as a text.
    config = json.dumps({**(module.settings.expert_config or {}), **request["expert_config"]})
    iov = IoV.from_json(request["requested_iov"])
    step = Path.cwd()
    folder = step / FILES_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.chdir(folder)
    guard_script(
        script, lambda: module.run_validation(str(results), str(request["input_data_path"]), tuple(iov), config)
    )
    sys.stdout.flush()
    kept = find_kept(module.settings.download_files or ())
    text = json.dumps({"version": 1, "name": module.settings.name, "files": kept}, indent=1) + "\n"
    write_bytes(step / SUMMARY_FILE, text.encode(), "list of files")
    sys.stdout.write(f"validated: {len(kept)} files in {folder}\n")


def build_results(target: Path, calibrations: Mapping[str, Path]) -> None:
    """Give the results the shape in which the experiment's framework leaves them, by links.

    :param calibrations: name → the calibration's folder in the run.
    """
    if target.exists():
        shutil.rmtree(target)
    for name, folder in calibrations.items():
        place = target / name
        place.mkdir(parents=True)
        _link(folder / "outputdb", place / "outputdb")
        for iteration in sorted(path for path in folder.iterdir() if path.name.isdigit()):
            (place / iteration.name).mkdir()
            for part in ("collector_output", "algorithm_output"):
                _link(iteration / part, place / iteration.name / part)


def find_kept(patterns: Sequence[str]) -> list[str]:
    """Give the files that the settings want to be kept, relative to the current folder.

    :raises DefinitionError: if a pattern matches none; `stdout`, the log of the task, is always there.
    """
    here = Path()
    found: set[str] = set()
    for pattern in patterns:
        if "stdout" in pattern:
            continue
        files = [path for path in here.rglob(pattern) if path.is_file()]
        if not files:
            raise DefinitionError(
                f"The validation wrote no file {pattern!r}, which its settings name in download_files.",
                hint="Correct the name there, or look at what the script printed.",
            )
        found.update(str(path) for path in files)
    return sorted(found)


def _link(source: Path, target: Path) -> None:
    if source.exists():
        os.symlink(source, target)  # noqa: PTH211 - Path.symlink_to turns the two around
