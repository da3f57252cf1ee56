"""The resolved definitions of a run: as they are written now, and as earlier releases wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.definitions.algorithm import Algorithm
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration, ImportedPayloads, OwnCalibration
from airflow_provider_caf.definitions.collection import Collection, CollectorWords, FailureWords
from airflow_provider_caf.definitions.form import list_words
from airflow_provider_caf.definitions.stored import read_caf, read_collection, read_stored_member
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.steps.configure import RunDefinition
from airflow_provider_caf.steps.manifest import CalibrationManifest, CollectionManifest, read_member, write_step
from tests.unit.core.test_golden_records import GOLDEN, read_golden
from tests.unit.definitions.making import build, make_calibration

HITS = {
    "collector": "detector:Hits",
    "settings": {"max_events": 100, "cuts": [1.5, None]},
    "input_files": ["/data/*.root", "root://host//a.root"],
    "files_to_iovs": {"/data/a.root": [1, 2, 1, 2]},
    "max_collector_jobs": 3,
    "output_patterns": ["CollectorOutput.root", "*.mille"],
    "granularity": "run",
    "database_chain": [{"local": "/db"}],
    "backend_args": {"memory": "2 GB"},
    "pre_collector": ["prepare", "x y"],
    "max_subjob_retries": 0,
    "max_failed_subjobs": 0.02,
}
VERTEX = {
    "name": "vertex",
    "collections": {
        "hits": HITS,
        "raw": {"collector": ["collect", "--all"], "max_subjob_retries": 3, "max_failed_subjobs": 0},
    },
    "algorithms": [
        {
            "name": "fit",
            "algorithm": "detector:Fit",
            "strategy": "SequentialRunByRun",
            "params": {"iov_coverage": [1, 0, -1, -1]},
            "settings": {"bins": 40},
            "prefix": "Hits",
            "pre_algorithm": "detector:before",
            "workers": 4,
            "run_ahead": False,
            "cpus": 2,
            "execution_timeout": 0.5,
            "memory_growth": None,
            "keep_executions": True,
            "fill_gaps": True,
        },
        {"name": "check", "algorithm": "/a/b.py:Check"},
    ],
    "max_iterations": 0,
    "ignored_runs": [[1, 3]],
    "requested_iov": [1, 0, 2, -1],
    "depends_on": ["beamspot"],
    "save_payloads": False,
    "database_chain": [{"global_tag": "main"}],
    "backend_args": {"queue": "s"},
    "backend": "lsf",
    "connection": "other_site",
}


def test_a_collection_of_an_earlier_release() -> None:
    first, second, third = (read_collection(value) for value in read_golden("CollectionRecord"))
    assert first == read_collection(HITS)
    assert second == read_collection({"collector": "a:B", "max_subjob_retries": 3, "max_failed_subjobs": 0})
    assert (third.command, third.filemaps) == (["collect", "--all"], ["/map.json"])
    assert third.selection is not None
    assert (third.selection.max_events, third.selection.random_seed) == (5, 1)


def test_a_calibration_of_an_earlier_release() -> None:
    full, bare = (read_stored_member(value) for value in read_golden("CalibrationRecord"))
    assert full == read_stored_member(VERTEX)
    assert isinstance(full, Calibration)
    assert [collection.name for collection in full.collections.values()] == ["hits", "raw"]
    assert (full.ignored_runs, full.requested_iov) == ([ExpRun(1, 3)], IoV(1, 0, 2, -1))
    assert bare == read_stored_member({"name": "x", "max_iterations": 5})


def test_a_step_of_an_earlier_release() -> None:
    imported, own = (read_stored_member(value) for value in read_golden("StepRecord"))
    assert imported == ImportedPayloads("x", "/x", depends_on=["y"], save_payloads=False)
    assert isinstance(own, OwnCalibration)
    assert (own.kind, own.model_extra, own.database_chain) == ("a:B", {"times": 2}, [{"local": "/db"}])


def test_a_caf_of_an_earlier_release() -> None:
    full, bare, steps = (read_caf(value) for value in read_golden("CafRecord"))
    assert full == read_caf(
        {
            "name": "demo",
            "calibrations": [VERTEX],
            "backend": "slurm",
            "backend_args": {"throttle": 3},
            "connection": "site",
            "database_chain": [{"global_tag": "base"}],
        }
    )
    assert bare == CAF("x")
    assert [type(member) for member in steps.calibrations] == [Calibration, OwnCalibration]
    assert (steps.job_budget, steps.gaps) == (3, "fill")
    assert steps.sign_off is not None
    assert steps.publish is not None
    assert (steps.sign_off.users, steps.publish.folder) == (["anna"], "/f")


@pytest.mark.parametrize("name", ["CafRecord", "CalibrationRecord", "StepRecord"])
def test_what_was_read_is_written_in_todays_form(name: str) -> None:
    read: Any = read_caf if name == "CafRecord" else read_stored_member
    for value in read_golden(name):
        found = read(value)
        written = json.loads(json.dumps(found.to_json()))
        assert read(written) == found
        assert read(written).to_json() == written


@pytest.mark.parametrize("value", [3, {"name": "a", "collections": {"x": 3}}, {"name": "a", "nonsense": 1}, {}])
def test_what_is_wrong_is_refused(value: Any) -> None:
    with pytest.raises(DefinitionError):
        read_stored_member(value)


def test_the_files_of_a_run_that_an_earlier_release_began(tmp_path: Path) -> None:
    run = RunLayout(work_dir=tmp_path, dag_id="demo", run_id="one")
    calibration, step = run.calibration("vertex"), run.calibration("x")
    collection = calibration.iteration(0).collection("hits")
    for name, file in (
        ("run_definition", run.definition),
        ("calibration_definition", calibration.definition),
        ("manifest", collection.manifest),
        ("step_definition", step.definition),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((GOLDEN / f"{name}.json").read_bytes())
    for _ in range(2):
        definition = RunDefinition.read(run)
        assert (definition.chosen, definition.shares) == (("a",), {"a": {"hits": 3}})
        assert definition.caf == read_caf(read_golden("CafRecord")[-1])
        definition.write(run.definition)
        manifest = CalibrationManifest.read(calibration)
        assert manifest.calibration == read_stored_member(VERTEX)
        assert [entry.value for entry in manifest.database_chain] == ["/db", "main"]
        manifest.write(calibration.definition)
        collected = CollectionManifest.read(collection)
        assert collected.collection == read_collection(HITS).rename("hits")
        assert [subjob.files for subjob in collected.subjobs] == [("/a.root",), ()]
        collected.write(collection.manifest)
        member = read_member(step)
        assert not isinstance(member, Calibration)
        assert (member.name, member.dependencies) == ("x", ["y"])
        write_step(member, step)


def test_what_a_run_keeps_says_every_word() -> None:
    """A default that changes in a later release must not change a run that has begun."""
    (vertex,) = build(make_calibration()).to_json()["calibrations"]
    assert set(vertex["algorithms"][0]) == set(list_words(Algorithm))
    assert set(vertex["collections"]["default"]) == set(list_words(Collection)) - {"input_data"}
    said_by_collections = {*CollectorWords.model_fields, *FailureWords.model_fields}
    assert set(vertex) == set(list_words(Calibration)) - said_by_collections
