"""Scripts described for real in the stand-in's environment: with what they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_caf.core.caf_config import CafConfig
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.files import read_definition
from airflow_provider_caf.scripts.definition import ScriptImport
from airflow_provider_caf.scripts.importing import import_script
from tests.script_site import SETUP

pytestmark = pytest.mark.slow

SCRIPT = """
import basf2
from ROOT.Belle2 import TestCalibrationAlgorithm
from caf.framework import Calibration
from prompt import CalibrationSettings

settings = CalibrationSettings(
    name="Taken", expert_username="nobody", description="text", input_data_formats=["raw"], input_data_names=["raw"]
)

def get_calibrations(input_data, **kwargs):
    for name, files in input_data.items():
        print("GIVEN", kwargs["requested_iov"], name, {path: tuple(iov) for path, iov in files.items()})
    return [Calibration("Mean", "CaTest", TestCalibrationAlgorithm(), list(input_data["raw"]))]
"""


def ask(folder: Path, *runs: int) -> ScriptImport:
    (folder / "taken.py").write_text(SCRIPT, encoding="utf-8")
    return ScriptImport(
        script=str(folder / "taken.py"),
        folder=folder / "definitions",
        config=CafConfig.from_json({"requested_iov": [12, -1, 12, 500]}),
        input_data={"raw": [[f"root://host//{run}.root", [12, run]] for run in runs] + [["/no/such/place", [12, 3]]]},
        arguments={"setup": list(SETUP)},
    )


def test_a_script_sees_only_files_of_the_requested_iov(tmp_path: Path) -> None:
    imported = import_script(ask(tmp_path, 600, 7, 5))
    kept = "{'root://host//7.root': (12, 7, 12, 7), 'root://host//5.root': (12, 5, 12, 5)}"
    assert f"GIVEN IoV(exp_low=12, run_low=0, exp_high=12, run_high=500) raw {kept}" in imported.printed
    (map_file,) = tmp_path.glob("definitions/_Taken/*/Mean/default/files.json")
    assert sorted(json.loads(map_file.read_text("utf-8"))["files"]) == ["root://host//5.root", "root://host//7.root"]
    software = read_definition(imported.file).software
    assert (software["basf2"], software["basf2 commit"]) == ("fake-01-00-00", "0" * 40)
    assert ["1 lie outside" in warning for warning in imported.warnings] == [False, True]
    assert "/no/such/place, which is not there" in imported.warnings[0]


def test_a_script_that_gets_no_file_fails_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError) as error:
        import_script(ask(tmp_path, 600))
    for part in ("no collection with a collector and input files", "has no files", "1 lie outside"):
        assert part in str(error.value)
