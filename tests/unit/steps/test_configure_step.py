"""The first step of a run: what it was made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_provider_caf import CAF, Calibration
from airflow_provider_caf.io.catalog import open_sqlite_catalog
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.steps.configure import RunDefinition, configure_run


def test_what_the_definition_was_made_with_stands_beside_the_versions_of_the_run(tmp_path: Path) -> None:
    software = {"basf2": "release-08-01-00", "basf2 commit": "abc"}
    caf = CAF("demo", Calibration("cal", ["true"], "hits:A", str(tmp_path / "*.root")), software=software).resolve()
    (tmp_path / "a.root").touch()
    catalog = open_sqlite_catalog(tmp_path / "catalog.sqlite")
    layout = RunLayout(work_dir=tmp_path, dag_id="demo", run_id="run")
    configure_run(caf, ("cal",), {}, layout, catalog)
    row = catalog.read_run("demo", "run")
    assert row is not None
    versions: Any = row.versions
    assert {**versions, **software} == versions
    assert {"python", "system", "airflow-provider-caf"} <= set(versions)
    assert RunDefinition.read(layout).caf.software == software
