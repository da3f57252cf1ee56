"""From a script to the conditions database, by the commands of `docs/how-to/bring-your-caf-script.md` as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_caf.io.local_database import LocalDatabase
from tests.integration.started_airflow import StartedAirflow
from tests.script_site import PROJECT, SCRIPTS, SETUP, write_json

pytestmark = pytest.mark.airflow

PAGE = PROJECT / "docs" / "how-to" / "bring-your-caf-script.md"
DAG = "BeamSpot_Calibrations"
WRITE_DATA = "write_json(Path('input_data.json'), write_data(Path('data'), ['raw_physics']))"


def read_commands() -> list[str]:
    section = PAGE.read_text("utf-8").partition("in ten commands\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    return [command.strip() for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release with one script, data, and a tool that writes down how it was called."""
    scripts = tmp_path / "prompt" / "calibrations"
    scripts.mkdir(parents=True)
    text = (SCRIPTS / "example_simple.py").read_text("utf-8").replace('"Example Simple"', '"BeamSpot Calibrations"')
    (scripts / "caf_beamspot.py").write_text(text, encoding="utf-8")
    code = f"from pathlib import Path\nfrom tests.script_site import write_data, write_json\n{WRITE_DATA}"
    # In a process of its own: ROOT is particular about that.
    argv = [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n{code}"]
    subprocess.run(argv, check=True, cwd=tmp_path)
    write_json(tmp_path / "caf_config.json", {"caf_script": "caf_beamspot", "database_chain": ["main"]})
    (tmp_path / "b2conditionsdb").write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >'{tmp_path}/uploaded'\n")
    (tmp_path / "b2conditionsdb").chmod(0o755)
    return tmp_path


def test_a_script_becomes_payloads_by_the_commands_of_the_page(started: StartedAirflow, folder: Path) -> None:
    setup = "; ".join([*SETUP, f"export PATH='{folder}':$PATH PYTHONPATH='{folder}':$PYTHONPATH"])
    definitions = started.airflow.environment["AIRFLOW__CAF__DEFINITIONS_FOLDER"]
    first, *commands = read_commands()
    assert first.startswith("SETUP=")
    assert sum(not command.startswith("DATABASE=") for command in commands) == 10
    known = [f'export PATH="{Path(sys.executable).parent}:$PATH" SETUP="{setup.replace("$", chr(92) + "$")}"']
    for command in commands:
        if command.startswith("airflow dags unpause"):
            started.read_definitions_again()
            started.airflow.wait_for_dag(DAG)
        text = command.replace("/etc/airflow/definitions", definitions)
        argv = ["bash", "-c", "\n".join(["set -e", *known, text])]
        ended = subprocess.run(
            argv, cwd=folder, env=started.airflow.environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{text}\n{ended.stdout}\n{ended.stderr}"
        known += [text] if text.startswith("DATABASE=") else []
    run = started.find_run(DAG, "first")
    assert (folder / "uploaded").read_text().splitlines() == [
        *("upload", "user_anna_beamspot"),
        str(run.database / "database.txt"),
    ]
    assert [entry.name for entry in LocalDatabase(run.database).entries()] == ["TestCalibMean"]
