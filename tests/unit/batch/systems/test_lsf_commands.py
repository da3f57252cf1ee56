"""LSF's commands, run against the fakes as the client runs them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from airflow_provider_caf.batch.spec import ArraySpec, Resources, SubmittedArray
from airflow_provider_caf.batch.systems.base import Answer
from airflow_provider_caf.batch.systems.lsf import LSFSystem
from airflow_provider_caf.core.errors import SubmitError
from airflow_provider_caf.jobs.transport.local import LocalTransport
from tests.unit.batch import arrays
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

FAKES = Path(__file__).parents[3] / "fakes" / "bin"
SYSTEM = LSFSystem()


def make_array(folder: Path, elements: int, resources: Resources | None = None) -> ArraySpec:
    return arrays.make_array(elements=elements, folder=str(folder), resources=resources or Resources())


class FakeLSF:
    """The fake commands, run as the client runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.transport = LocalTransport()

    def set_faults(self, **faults: object) -> None:
        (self.folder / "faults.json").write_text(json.dumps(faults))

    def submit(self, array: ArraySpec) -> SubmittedArray:
        submission = SYSTEM.build_submit(array)
        for file in submission.files:
            Path(file.path).write_text("case $LSB_JOBINDEX in 1) exit 0;; 2) exit 3;; *) exec sleep 600;; esac\n")
        ids = SYSTEM.parse_submit(array, self.transport.run(submission.command))
        return SubmittedArray(array=array, ids=ids, submitted="2026-01-01T00:00:00.000Z")

    def poll(self, *arrays: SubmittedArray) -> Answer:
        (query,) = SYSTEM.build_query(arrays)
        return SYSTEM.parse_query(query, self.transport.run(query.command))

    def states(self, array: SubmittedArray) -> list[str]:
        natives = self.poll(array).elements[array.array.name]
        return [native.code for _, native in sorted(natives.items())]

    def wait(self, array: SubmittedArray, states: list[str]) -> None:
        wait_until(lambda: self.states(array) == states, lambda: self.states(array))

    def programs(self) -> list[str]:
        lines = (self.folder / "commands.log").read_text().splitlines()
        return [json.loads(line)["argv"][0] for line in lines]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLSF:
    folder = tmp_path / "fake"
    folder.mkdir()
    monkeypatch.setenv("FAKE_BATCH", str(folder))
    monkeypatch.setenv("FAKE_SYSTEM", "lsf")
    monkeypatch.setenv("PATH", f"{FAKES}:{os.environ['PATH']}")
    return FakeLSF(folder)


@pytest.mark.parametrize("compatible", [False, True])
def test_an_array_from_its_submission_to_its_end(fake: FakeLSF, tmp_path: Path, compatible: bool) -> None:
    array = make_array(tmp_path, 3)
    fake.set_faults(compatible=compatible)
    assert SYSTEM.parse_lookup(array, fake.transport.run(SYSTEM.build_lookup(array))) == ()
    job = fake.submit(array)
    assert SYSTEM.parse_lookup(array, fake.transport.run(SYSTEM.build_lookup(array))) == (job.ids,)
    fake.wait(job, ["DONE", "EXIT", "RUN"])
    (command,) = SYSTEM.build_cancel(job, [2])
    SYSTEM.parse_action(job, fake.transport.run(command), "cancelled")
    fake.wait(job, ["DONE", "EXIT", "EXIT" if compatible else "TERM_OWNER"])
    SYSTEM.parse_action(job, fake.transport.run(command), "cancelled")
    # The second command of a query, where the first one's fields are not known, answers for it.
    before = fake.programs().count("bjobs")
    fake.poll(job)
    assert fake.programs().count("bjobs") - before == (2 if compatible else 1)
    (query,) = SYSTEM.build_history([job])
    said = SYSTEM.parse_history(query, fake.transport.run(query.command)).elements["caf_a"]
    assert [(native.code, native.exit_code) for _, native in sorted(said.items())] == [
        ("DONE", 0),
        ("EXIT", 3),
        ("EXIT" if compatible else "TERM_OWNER", 143),
    ]


def test_held_elements_are_released(fake: FakeLSF, tmp_path: Path) -> None:
    array = make_array(tmp_path, 2, Resources(extra_lines=("#BSUB -H",)))
    job = fake.submit(array)
    assert fake.states(job) == ["PSUSP", "PSUSP"]
    (command,) = SYSTEM.build_release(job, [0, 1])
    SYSTEM.parse_action(job, fake.transport.run(command), "released")
    fake.wait(job, ["DONE", "EXIT"])
    SYSTEM.parse_action(job, fake.transport.run(command), "released")


def test_an_array_over_the_limit(fake: FakeLSF, tmp_path: Path) -> None:
    array = make_array(tmp_path, 1001)
    with pytest.raises(SubmitError, match="LSF did not take array caf_a"):
        fake.submit(array)
    fake.set_faults(compatible=True)
    job = fake.submit(array)
    assert len(fake.states(job)) == 1001
    (command,) = SYSTEM.build_cancel(job, None)
    SYSTEM.parse_action(job, fake.transport.run(command), "cancelled")
    fake.wait(job, ["EXIT"] * 1001)
