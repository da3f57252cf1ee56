"""Run a validation script on the finished output of a calibration: the verb `validate`.

::

    {"version": 1, "script": "/path/to/validation.py", "caf": "dropin", "script_folders": [],
     "requested_iov": [exp, run, exp, run], "expert_config": {},
     "calibrations": {<name in the script>: <folder of the calibration in the run>},
     "input_data_path": "/path"}

A validation script is a module with `settings`, a `ValidationSettings`, and
`run_validation(job_path, input_data_path, requested_iov, expert_config)`. `job_path` is a folder in the shape that the
experiment's framework leaves: `<job_path>/<calibration>/outputdb/database.txt`, `<calibration>/<iteration>/…`. The
script runs in the folder `files`, and what it writes stays there. `download_files` of its settings are patterns of
files that the experiment's tool fetches from the results; here what the script has written is looked through, too.
`validation.json` says what was found::

    {"version": 1, "name": …, "files": [<path in files>], "results": [<path in calibration_results>],
     "missing": [<pattern>]}
"""

from __future__ import annotations

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

RESULTS_FOLDER = "calibration_results"
FILES_FOLDER = "files"
SUMMARY_FILE = "validation.json"


def run(request: Mapping[str, Any]) -> None:
    """Run a validation script in a folder of the current one, and keep which files it wants to be kept.

    :raises DefinitionError: if it cannot be used, or raises.
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
    found = find_kept(module.settings.download_files or (), folder, results)
    text = json.dumps({"version": 1, "name": module.settings.name, **found}, indent=1) + "\n"
    write_bytes(step / SUMMARY_FILE, text.encode(), "list of files")
    for pattern in found["missing"]:
        sys.stdout.write(f"warning: there is no file {pattern!r}, which the settings name in download_files\n")
    sys.stdout.write(f"validated: {len(found['files'])} files in {folder}, {len(found['results'])} in {results}\n")


def build_results(target: Path, calibrations: Mapping[str, Path]) -> None:
    """Lay the results out in the shape in which the experiment's framework leaves them, by links.

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


def find_kept(patterns: Sequence[str], files: Path, results: Path) -> dict[str, list[str]]:
    """Return which files the settings want to be kept, relative to the two folders, and what matches nothing.

    `stdout` is the log of the task, which is always there.
    """
    wanted = [pattern for pattern in patterns if "stdout" not in pattern]
    known = {"files": _list_files(files), "results": _list_files(results)}
    found = {
        place: [str(path) for path in paths if any(path.match(pattern) for pattern in wanted)]
        for place, paths in known.items()
    }
    everything = [*known["files"], *known["results"]]
    missing = [pattern for pattern in wanted if not any(path.match(pattern) for path in everything)]
    return {**found, "missing": missing}


def _list_files(folder: Path) -> list[Path]:
    """Return all files below a folder, relative to it, sorted; the results are there by links."""
    walked = os.walk(folder, followlinks=True)
    return sorted(Path(place, name).relative_to(folder) for place, _, names in walked for name in names)


def _link(source: Path, target: Path) -> None:
    if source.exists():
        os.symlink(source, target)  # noqa: PTH211 - Path.symlink_to turns the two around
