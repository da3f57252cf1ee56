"""The files of a run that an earlier release began are read, and written again as they were."""

from __future__ import annotations

import contextlib
import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf import batch, core, steps
from airflow_provider_caf.batch.spec import ArraySpec, SubmittedArray
from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.strategies.base import Execution, Monitored, StagedFigure, StagedPayload
from airflow_provider_caf.core.strategies.tickets import Answered
from airflow_provider_caf.io.filemap import MappedFile, read_filemap_and_how, write_filemap
from airflow_provider_caf.jobs.notes import NOTES_FILE, read_notes, write_notes
from airflow_provider_caf.worker.basf2.script import ScriptArguments

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "records"
RECORDS: tuple[Any, ...] = (
    Answered,
    ArraySpec,
    DatabaseEntry,
    Execution,
    MappedFile,
    Monitored,
    ScriptArguments,
    StagedFigure,
    StagedPayload,
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


def list_subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from list_subclasses(subclass)


def test_every_record_knows_how_its_fields_are_read() -> None:
    """An annotation that only a type checker can follow would fail at the first job."""
    for package in (core, batch, steps):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    records = [cls for cls in list_subclasses(JsonRecord) if cls.__module__.startswith("airflow_provider_caf.")]
    assert len(records) > 15
    for cls in records:
        with pytest.raises(DefinitionError, match="not an object"):
            cls.from_json([])
        # The form of each field is found out before a value is looked at.
        with contextlib.suppress(CafError):
            cls.from_json({})
