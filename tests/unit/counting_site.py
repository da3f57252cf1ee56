"""A batch system whose only command is a small script that counts how often it is run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf.batch.spec import ArraySpec, Resources, SubmittedArray
from airflow_provider_caf.batch.systems.local import LocalSystem
from airflow_provider_caf.core.files import write_json
from airflow_provider_caf.core.splitting import SubjobPlan
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.steps import collect
from airflow_provider_caf.steps.manifest import CollectionManifest

if TYPE_CHECKING:
    from airflow_provider_caf.triggers.batch import BatchJobTrigger

SCRIPT = """import json, pathlib, sys

here = pathlib.Path(__file__).parent
asked = json.load(sys.stdin)
with open(here / "commands", "a") as commands:
    commands.write(json.dumps([sys.argv[-1], len(asked)]) + "\\n")
letter = (here / "letter").read_text()
if letter == "ill":
    sys.exit("the server is ill")
for each in asked:
    count = len(json.loads(pathlib.Path(each["folder"], "array.json").read_text())["elements"])
    print(json.dumps({"states": letter * count, "host": "node", "cancelled": True}))
"""


@dataclass(frozen=True)
class Site:
    """The batch system, and collections of which everything is submitted.

    :param folder: holds the command.
    """

    folder: Path
    calibration: CalibrationLayout

    def say(self, letter: str) -> None:
        """Let the command give this state of all elements; `ill`: let it fail."""
        (self.folder / "letter").write_text(letter)

    def read_commands(self) -> list[tuple[str, int]]:
        """Give what each command was, and after how many arrays it asked."""
        file = self.folder / "commands"
        lines = file.read_text().splitlines() if file.exists() else []
        return [tuple(json.loads(line)) for line in lines]

    def submit(self, collection: str, subjobs: int, **resources: Any) -> None:
        """Leave what the submission of a collection leaves."""
        layout = self.calibration.iteration(0).collection(collection)
        for folder in (layout.jobs.input_folder, layout.jobs.status_folder):
            folder.mkdir(parents=True)
        CollectionManifest(
            calibration=self.calibration.name,
            collection=Collection(["true"], max_subjob_retries=3, max_failed_subjobs=0).rename(collection),
            prefix="",
            granularity="run",
            subjobs=tuple(SubjobPlan(index=index, files=(), arguments={}) for index in range(subjobs)),
            database_chain=(),
            backend="local",
            resources=Resources(**resources),
        ).write(layout.manifest)
        for subjob in range(subjobs):
            write_json(layout.jobs.job_file(subjob), {"subjob": subjob}, durable=False)
        self.add_array(collection, subjobs)

    def add_array(self, collection: str, subjobs: int, attempt: int = 0) -> None:
        """Leave what the submission of an array leaves."""
        layout = self.calibration.iteration(0).collection(collection)
        folder = layout.jobs.array_folder(attempt)
        folder.mkdir(parents=True)
        array = ArraySpec(
            name=f"caf_{collection}",
            folder=str(folder),
            input_folder=str(layout.jobs.input_folder),
            output_folder=str(layout.jobs.output_folder),
            status_folder=str(layout.jobs.status_folder),
            elements=tuple((subjob,) for subjob in range(subjobs)),
            attempt=attempt,
            app="/not/used",
            python="python3",
        )
        write_json(array.array_file, array.to_json(), durable=False)
        submitted = SubmittedArray(array=array, ids=("1",), submitted="2026-01-01T00:00:00Z")
        write_json(folder / "submitted.json", submitted.to_json(), durable=False)

    def make_trigger(self, collection: str, interval: float, **words: float) -> BatchJobTrigger:
        # Most tests with this folder's fixtures need no Airflow, which takes its time to import.
        from airflow_provider_caf.triggers.batch import BatchJobTrigger

        return BatchJobTrigger(
            str(self.calibration.folder),
            "dag",
            "run",
            0,
            collection,
            **{"deadline": 4e9, "shortest_interval": interval, "longest_interval": interval, **words},
        )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", str(tmp_path))
    folder = tmp_path / "site"
    folder.mkdir()
    command = folder / "pool.py"
    command.write_text(SCRIPT)
    load: Callable[[str], LocalSystem] = lambda _: LocalSystem((sys.executable, "-IS", str(command)))  # noqa: E731
    monkeypatch.setattr(collect, "load_system", load)
    calibration = CalibrationLayout(run_folder=tmp_path / "dag" / "run", name="vertex")
    made = Site(folder=folder, calibration=calibration)
    made.say("Q")
    return made
