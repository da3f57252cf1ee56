"""Scripts of all shapes that the experiment's have, described by the modules `caf` and `prompt` of this package."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.scripts.definition import ScriptImport, build_definition, dump_definition
from tests.script_shapes import read_shapes
from tests.script_site import PROJECT, source_and_run, write_json

pytestmark = pytest.mark.slow

SHAPES = {shape["script"]: shape for shape in read_shapes()}
REQUESTED = [1, 1, -1, -1]

DESCRIBE = """
import json, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from airflow_provider_caf.worker.basf2 import describe_script

answers = {}
for name, names in json.loads(Path("names.json").read_text()).items():
    Path(f"{name}.py").write_text(
        f"from shape_script import build_script\\nsettings, get_calibrations = build_script({name!r})\\n"
    )
    answers[name] = describe_script.run({
        "script": str(Path(f"{name}.py").absolute()), "caf": "dropin", "requested_iov": [1, 1, -1, -1],
        "input_data": {each: [[f"root://host//{each}.root", [1, 1]]] for each in names}, "folder": f"side/{name}",
    })
Path("answers.json").write_text(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The descriptions of all, made in one process."""
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "describe.py").write_text(DESCRIBE)
    write_json(folder / "names.json", {name: shape["input_data"] or ["data"] for name, shape in SHAPES.items()})
    ended = source_and_run(f"'{sys.executable}' describe.py '{PROJECT}/tests/caf_scripts'", folder)
    assert ended.returncode == 0, ended.stderr
    described: dict[str, dict[str, Any]] = json.loads((folder / "answers.json").read_text())
    return described


def test_there_are_all_of_the_experiments() -> None:
    assert len(SHAPES) == 41


@pytest.mark.parametrize("name", SHAPES)
def test_a_script_is_described_as_it_is_written(name: str, answers: dict[str, dict[str, Any]]) -> None:
    written = SHAPES[name]["calibrations"]
    described = answers[name]["calibrations"]
    words = ("name", "depends_on", "save_payloads", "max_iterations")
    assert [[form[word] for word in words] for form in described] == [
        [form["name"], form["depends_on"], form["save_payloads"], form.get("max_iterations")] for form in written
    ]
    for form, given in zip(described, written, strict=True):
        assert list(form["collections"]) == list(given["collections"])
        for collection, collected in zip(form["collections"].values(), given["collections"].values(), strict=True):
            assert collection["granularity"] == collected["granularity"]
            assert collection["backend_args"] == given.get("backend_args", {})
        found = [(each["strategy"], each["is_built_in"], each["has_pre_algorithm"]) for each in form["algorithms"]]
        kinds = [algorithm["strategy"].partition("CUSTOM:") for algorithm in given["algorithms"]]
        assert found == [(own or kind, not own, given["pre_algorithm"]) for kind, _, own in kinds]
    ignored = [algorithm for form in written for algorithm in form["algorithms"] if algorithm["params_ignored"]]
    told = [warning for warning in answers[name]["warnings"] if "has no effect" in warning]
    assert len(told) == len(ignored)


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_described_is_a_definition_of_the_same_size(name: str, answers: dict[str, dict[str, Any]]) -> None:
    order = ScriptImport(script=f"{name}.py", folder=Path("/definitions"))
    form = build_definition(answers[name], order, name=name, side_folder="/side")
    record = CAF.from_json(yaml.safe_load(dump_definition(form, name))).resolve()
    members = [member for member in record.calibrations if isinstance(member, Calibration)]
    assert {
        "calibrations": len(members),
        "algorithms": sum(len(member.algorithms) for member in members),
        "collections": sum(len(member.collections) for member in members),
        "edges": sum(len(member.dependencies) for member in members),
    } == SHAPES[name]["expected"]
