from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_caf.core.calibration import (
    AlgorithmRecord,
    CafRecord,
    CalibrationRecord,
    CollectionRecord,
    DatabaseEntry,
    Ending,
    Publish,
    Selection,
    SignOff,
    StepRecord,
)
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.splitting import Splitting

COLLECTION = CollectionRecord(
    name="hits",
    collector="detector:Hits",
    settings={"max_events": 100, "cuts": [1.5, None]},
    input_files=("/data/*.root", "root://host//a.root"),
    files_to_iovs={"/data/a.root": IoV(1, 2, 1, 2)},
    splitting=Splitting(max_collector_jobs=3),
    output_patterns=("CollectorOutput.root", "*.mille"),
    granularity="run",
    database_chain=(DatabaseEntry(kind="local", value="/db"),),
    backend_args={"memory": "2 GB"},
    pre_collector={"command": ["prepare", "x y"]},
    max_subjob_retries=0,
    max_failed_subjobs=0.02,
)
ALGORITHM = AlgorithmRecord(
    name="fit",
    algorithm="detector:Fit",
    strategy="SequentialRunByRun",
    params={"iov_coverage": [1, 0, -1, -1]},
    settings={"bins": 40},
    prefix="Hits",
    pre_algorithm="detector:before",
    workers=4,
    run_ahead=False,
    cpus=2,
    execution_timeout=0.5,
    memory_growth=None,
    keep_executions=True,
    fill_gaps=True,
)
CALIBRATION = CalibrationRecord(
    name="vertex",
    collections=(COLLECTION, CollectionRecord(name="raw", command=("collect", "--all"))),
    algorithms=(ALGORITHM, AlgorithmRecord(name="check", algorithm="/a/b.py:Check")),
    max_iterations=0,
    ignored_runs=(ExpRun(1, 3),),
    requested_iov=IoV(1, 0, 2, -1),
    depends_on=("beamspot",),
    save_payloads=False,
    database_chain=(DatabaseEntry(kind="global_tag", value="main"),),
    backend_args={"queue": "s"},
    backend="lsf",
    connection="other_site",
)
CAF = CafRecord(
    name="demo",
    calibrations=(CALIBRATION,),
    backend="slurm",
    backend_args={"throttle": 3},
    connection="site",
    database_chain=(DatabaseEntry(kind="global_tag", value="base"),),
)
RECORDS: list[Any] = [
    COLLECTION,
    ALGORITHM,
    CALIBRATION,
    CAF,
    CollectionRecord(name="x"),
    AlgorithmRecord(name="x", algorithm="a:B"),
    CalibrationRecord(name="x", collections=(), algorithms=()),
    CafRecord(name="x", calibrations=()),
    StepRecord(name="x", kind="imported_payloads", options={"folder": "/x"}, depends_on=("y",), save_payloads=False),
    StepRecord(name="x", kind="own", type="a:B", database_chain=(DatabaseEntry(kind="local", value="/db"),)),
    CafRecord(
        name="x",
        calibrations=(CalibrationRecord(name="a", collections=(), algorithms=()), StepRecord(name="b", kind="own")),
        job_budget=3,
        ending=Ending(gaps="fill", sign_off=SignOff(users=("anna",)), publish=Publish(folder="/f")),
    ),
    CollectionRecord(name="x", selection=Selection(max_events=5, random_seed=1), filemaps=("/map.json",)),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{type(record).__name__}-{record.name}")
def test_round_trip_through_text(record: Any) -> None:
    text = json.dumps(record.to_json())
    again = type(record).from_json(json.loads(text))
    assert again == record
    assert json.dumps(again.to_json()) == text


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{type(record).__name__}-{record.name}")
def test_unknown_field_is_an_error(record: Any) -> None:
    with pytest.raises(DefinitionError, match=f"'{record.name}' has an unknown field 'nonsense'"):
        type(record).from_json({**record.to_json(), "nonsense": 1})


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{type(record).__name__}-{record.name}")
def test_every_field_is_checked(record: Any) -> None:
    for field in record.to_json():
        with pytest.raises(DefinitionError, match=field) as caught:
            type(record).from_json({**record.to_json(), field: object()})
        assert caught.value.hint


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (CollectionRecord, {"name"}),
        (AlgorithmRecord, {"name", "algorithm"}),
        (CalibrationRecord, {"name", "collections", "algorithms"}),
        (CafRecord, {"name", "calibrations"}),
    ],
)
def test_what_must_be_there(cls: Any, fields: set[str]) -> None:
    required = {"name": "x", "algorithm": "a:B", "collections": [], "algorithms": [], "calibrations": []}
    given = {field: required[field] for field in fields}
    assert cls.from_json(given)
    for field in fields:
        rest = {other: value for other, value in given.items() if other != field}
        with pytest.raises(DefinitionError, match=f"has no '{field}'"):
            cls.from_json(rest)


def test_defaults() -> None:
    calibration = CalibrationRecord.from_json({"name": "x", "collections": [], "algorithms": []})
    assert (calibration.max_iterations, calibration.save_payloads) == (5, True)
    assert (calibration.backend, calibration.connection) == (None, None)
    assert CafRecord.from_json({"name": "x", "calibrations": []}).backend is None
    assert CollectionRecord(name="x").output_patterns == ("CollectorOutput.root",)
    assert AlgorithmRecord(name="x", algorithm="a:B").strategy == "SingleIOV"


def test_the_place_of_a_deep_mistake_is_named() -> None:
    value = CAF.to_json()
    value["calibrations"][0]["collections"][1]["files_to_iovs"] = {"/data/b.root": [1, 2]}
    with pytest.raises(DefinitionError) as caught:
        CafRecord.from_json(value)
    text = str(caught.value)
    assert "item 0 of 'calibrations' of the CAF 'demo'" in text
    assert "item 1 of 'collections' of the calibration 'vertex'" in text
    assert "'/data/b.root' of 'files_to_iovs' of the collection 'raw'" in text
    assert "[1, 2] is not an IoV" in text


def test_what_json_cannot_carry_is_named() -> None:
    with pytest.raises(DefinitionError, match=r"The settings of algorithm 'x'\['a'\] holds"):
        AlgorithmRecord(name="x", algorithm="a:B", settings={"a": object()}).to_json()


def test_dependencies_for_the_graph() -> None:
    assert CAF.map_dependencies() == {"vertex": ("beamspot",)}
