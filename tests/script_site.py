"""Calibration scripts, the stand-in for their experiment's software, and data for them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
BASF2 = PROJECT / "tests" / "fakes" / "basf2"
SCRIPTS = PROJECT / "tests" / "caf_scripts" / "prompt" / "calibrations"
VALIDATIONS = PROJECT / "tests" / "caf_scripts" / "prompt" / "validations"
BAD_SCRIPTS = PROJECT / "tests" / "caf_scripts" / "bad"

SETUP = (f"export FAKE_BASF2_PYTHON='{sys.executable}'", f"source '{BASF2}/setup.sh'")
"""The lines that a site would have in front of everything that needs the experiment's software."""

RUNS = ((1, 1), (1, 2), (1, 3))
TRIGGER = {"skim_mumu": 1, "skim_bhabha": 0}


def write_data(
    folder: Path, names: Sequence[str], events: Mapping[tuple[int, int], int] | None = None
) -> dict[str, Any]:
    """Write a file for each run and name, and give what `input_data.json` holds.

    :param events: of a file, run by run; without it 100.
    """
    module = _load_make_data()
    data: dict[str, Any] = {}
    for name in names:
        data[name] = []
        for exp, run in RUNS:
            place = folder / name / f"r{run:05d}"
            place.mkdir(parents=True)
            count = (events or {}).get((exp, run), 100)
            module.write_events(str(place / "events.root"), [(exp, run, count, float(run))], TRIGGER, run)
            data[name].append([str(place), [exp, run]])
    return data


def write_json(path: Path, value: Any) -> str:
    """Write a JSON file, and give its path."""
    path.write_text(json.dumps(value), encoding="utf-8")
    return str(path)


def source_and_run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run shell lines in the experiment's environment."""
    text = "\n".join(["set -e", *SETUP, script])
    return subprocess.run(["bash", "-c", text], cwd=folder, capture_output=True, text=True, check=False)


def _load_make_data() -> Any:
    spec = importlib.util.spec_from_file_location("make_data", BASF2 / "make_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
