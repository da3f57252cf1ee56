"""A folder of definitions: each file for itself."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_caf import build_dags
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.factory.folder import BrokenDefinition, find_definitions_folder

GOOD = """
name: {name}
calibrations:
  - {{name: first, collector: "hits:C", input_files: [/data/*.root], algorithms: ["hits:A"]}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(GOOD.format(name="one"))
    (tmp_path / "b.yaml").write_text(GOOD.format(name="two").replace("hits:A", "hits"))
    (tmp_path / "c.yaml").write_text(GOOD.format(name="one"))
    (tmp_path / "d.py").write_text("1 / 0")
    (tmp_path / "e.json").write_text('{"name": "three", "calibrations": []}')
    (tmp_path / "f.yaml").write_text(GOOD.format(name="four"))
    return tmp_path


def test_in_the_dag_processor_a_broken_file_gives_a_dag_that_shows_its_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")
    dags = build_dags(folder)
    broken: dict[str, Any] = {
        Path(str(dag.relative_fileloc)).name: dag for dag in dags.values() if isinstance(dag, BrokenDefinition)
    }
    assert set(dags) - {dag.dag_id for dag in broken.values()} == {"one", "four"}
    said = {}
    for name, dag in broken.items():
        # Airflow notes the DAG file after it has run it; what it shows is the definition's.
        dag.fileloc = dag.relative_fileloc = "caf_definitions.py"
        assert dag.relative_fileloc == str(folder / name)
        dag.validate()
        with pytest.raises(Exception, match="Failed to serialize") as caught:
            DagSerialization.to_dict(dag)
        said[name] = str(caught.value)
    assert "hits' names no class or function" in said["b.yaml"]
    assert "> 4 |" in said["b.yaml"]
    assert f"There are two definitions named 'one': the other is in {folder / 'a.yaml'}." in said["c.yaml"]
    assert "division by zero" in said["d.py"]
    assert "The CAF 'three' has no calibration." in said["e.json"]


def test_elsewhere_a_broken_file_is_left_out_and_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert set(build_dags(folder)) == {"one", "four"}
    assert len([each for each in caplog.records if "cannot be used" in each.getMessage()]) == 4


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="is not there") as caught:
        build_dags(tmp_path / "nowhere")
    assert "definitions_folder" in str(caught.value.hint)


def test_the_folder_is_the_one_that_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_definitions_folder(tmp_path / "dags" / "x.py") == tmp_path / "dags" / "definitions"
    monkeypatch.setenv("AIRFLOW__CAF__DEFINITIONS_FOLDER", str(tmp_path))
    assert find_definitions_folder(Path("/x.py")) == tmp_path


def test_a_task_gets_its_dag_and_no_other_definition_is_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "g.yaml").write_text(GOOD.format(name='"fi\\u0076e"'))
    (folder / "h.py").write_text(
        "from airflow_provider_caf import CAF, Calibration, Collection\n"
        "hits = Collection('m:C', ['/d'])\n"
        "caf = CAF('si' + 'x', [Calibration('first', collections={'hits': hits}, algorithms='m:A')])"
    )
    (folder / "i.yaml").symlink_to(folder / "nowhere.yaml")
    built = {}
    for name in ("one", "four", "five", "six", "seven"):
        monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", name)
        built[name] = set(build_dags(folder))
    assert built["one"] == {"one"}
    assert built["four"] == {"four"}
    # Names that do not stand in the text of their files are found all the same.
    assert built["five"] == {"one", "four", "five"}
    assert built["six"] == built["seven"] == {"one", "four", "five", "six"}
