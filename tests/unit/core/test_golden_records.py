"""The files of a run that an earlier release began are read, and written again as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.batch.spec import ArraySpec, SubmittedArray
from airflow_provider_caf.core.calibration import (
    AlgorithmRecord,
    CafRecord,
    CalibrationRecord,
    CollectionRecord,
    DatabaseEntry,
    Ending,
    Selection,
    StepRecord,
)
from airflow_provider_caf.core.splitting import Splitting
from airflow_provider_caf.core.strategies.base import Execution, Monitored, StagedFigure, StagedPayload
from airflow_provider_caf.core.strategies.tickets import Answered
from airflow_provider_caf.io.filemap import MappedFile, read_filemap_and_how, write_filemap
from airflow_provider_caf.io.jobs.notes import NOTES_FILE, read_notes, write_notes
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.steps.configure import RunDefinition
from airflow_provider_caf.steps.manifest import CalibrationManifest, CollectionManifest, read_member, write_step
from airflow_provider_caf.worker.script import ScriptArguments

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "records"
RECORDS: tuple[Any, ...] = (
    AlgorithmRecord,
    Answered,
    ArraySpec,
    CafRecord,
    CalibrationRecord,
    CollectionRecord,
    DatabaseEntry,
    Ending,
    Execution,
    MappedFile,
    Monitored,
    ScriptArguments,
    Selection,
    Splitting,
    StagedFigure,
    StagedPayload,
    StepRecord,
)


def read_golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_records(cls: Any) -> None:
    for value in read_golden(cls.__name__):
        assert json.dumps(cls.from_json(value).to_json()) == json.dumps(value)


def test_submitted() -> None:
    array = ArraySpec.from_json(read_golden("ArraySpec")[0])
    for value in read_golden("SubmittedArray"):
        assert json.dumps(SubmittedArray.from_json(array, value).to_json()) == json.dumps(value)


def test_files(tmp_path: Path) -> None:
    notes, filemap = tmp_path / NOTES_FILE, tmp_path / "map.json"
    for name, file in (("notes", notes), ("filemap", filemap)):
        file.write_bytes((GOLDEN / f"{name}.json").read_bytes())
    write_notes(str(tmp_path), read_notes(str(tmp_path)))
    assert notes.read_bytes() == (GOLDEN / "notes.json").read_bytes()
    write_filemap(filemap, *read_filemap_and_how(filemap))
    assert filemap.read_bytes() == (GOLDEN / "filemap.json").read_bytes()


def test_manifests(tmp_path: Path) -> None:
    run = RunLayout(work_dir=tmp_path, dag_id="demo", run_id="one")
    calibration = run.calibration("vertex")
    collection = calibration.iteration(0).collection("hits")
    step = run.calibration("x")
    for name, file in (
        ("run_definition", run.definition),
        ("calibration_definition", calibration.definition),
        ("manifest", collection.manifest),
        ("step_definition", step.definition),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        golden = (GOLDEN / f"{name}.json").read_bytes()
        file.write_bytes(golden)
        if name == "run_definition":
            RunDefinition.read(run).write(run)
        elif name == "calibration_definition":
            CalibrationManifest.read(calibration).write(calibration)
        elif name == "manifest":
            CollectionManifest.read(collection).write(collection)
        else:
            member = read_member(step)
            assert isinstance(member, StepRecord)
            write_step(member, step)
        assert file.read_bytes() == golden
