"""Nobody else can read a file of a run that holds a secret, whatever the umask of the worker is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_caf.definitions.caf import Publish
from airflow_provider_caf.definitions.calibration import ExternalCommand
from airflow_provider_caf.steps.command import CommandRun
from airflow_provider_caf.steps.ending import Publication
from airflow_provider_caf.steps.manifest import Target
from tests.private_airflow import PrivateAirflow

if TYPE_CHECKING:
    from tests.unit.conftest import Lab

SECRET = "s3cr3t-of-the-site"


@pytest.fixture(autouse=True)
def nothing_is_masked() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def list_open_files(folder: Path) -> list[str]:
    """Give the files with the secret in them that others may read or write, and the count of all with it."""
    holding = [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert holding
    return [f"{path.relative_to(folder)} {path.stat().st_mode:o}" for path in holding if path.stat().st_mode & 0o077]


def test_of_a_pass_whose_jobs_have_a_secret_and_print_it(lab: Lab, tmp_path: Path) -> None:
    arguments = {"environment": {"TOKEN": SECRET}, "setup": ['echo "setup of $TOKEN"']}
    words = ["bash", "-c", 'env; echo "$TOKEN" >&2; cp "$1" CollectorOutput.root', "-", str(lab.files.collected[0])]
    collection = lab.copies(words, max_collector_jobs=1)
    calibration = lab.calibration(collections={"default": collection}, algorithms=lab.algorithm(), max_iterations=0)
    lab.prepare(calibration, target=Target(connection_args={"max_processes": 1, **arguments}))
    lab.collect()
    lab.merge()
    lab.calibrate()
    assert list_open_files(tmp_path) == []
    # What is not for the user alone is still what the umask says: others may read the results.
    assert lab.layout().iteration(0).collection("default").merged_file.stat().st_mode & 0o044


def test_of_an_external_command(lab: Lab, tmp_path: Path) -> None:
    step = ExternalCommand("step", ["env"], environment={"TOKEN": SECRET})
    lab.run_command(CommandRun(step, lab.layout("step")))
    assert SECRET in lab.layout("step").command_log.read_text()
    assert list_open_files(tmp_path) == []


def test_of_a_publication(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "it does not get this")
    command = ["sh", "-c", 'test -z "$AIRFLOW__CORE__FERNET_KEY" && echo "$1"', "-", SECRET]
    Publication(lab.run, Publish(command=command)).run()
    assert list_open_files(tmp_path) == []


def test_of_a_private_airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    airflow = PrivateAirflow(home=home, dags_folder=tmp_path)

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(PrivateAirflow, "run_cli", fail)
    with pytest.raises(RuntimeError):
        airflow.start()
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "passwords.json").stat().st_mode & 0o777 == 0o600
