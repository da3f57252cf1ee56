"""Slurm through the fake commands."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import engine
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, Resources, SubmittedArray
from airflow_provider_caf.core.errors import PollError, SubmitError
from airflow_provider_caf.jobs.transport.local import LocalTransport
from tests.unit.batch.arrays import make_array
from tests.unit.batch.systems.test_slurm import SYSTEM

pytestmark = pytest.mark.slow

FAKES = Path(__file__).parents[3] / "fakes" / "bin"


class Fake:
    """The fake commands, in a state of their own."""

    def __init__(self, home: Path) -> None:
        self.work = home / "work"
        self.work.mkdir()

    def run(self, command: Command) -> CommandResult:
        return LocalTransport().run(command)

    def submit(self, elements: int, command: str, **resources: Any) -> SubmittedArray:
        """Submit an array whose script does something else."""
        array = make_array("caf_a", elements, folder=str(self.work), resources=Resources(**resources))
        submission = SYSTEM.build_submit(array)
        Path(array.script_file).write_text(f"#!/bin/sh\n{command}\n")
        ids = SYSTEM.parse_submit(array, self.run(submission.command))
        return SubmittedArray(array=array, ids=ids, submitted="2026-01-01T00:00:00.000Z")

    def look_up(self, array: ArraySpec) -> tuple[tuple[str, ...], ...]:
        """Look a name up without the wait before the second question."""
        command = SYSTEM.build_lookup(array)
        return SYSTEM.parse_lookup(array, self.run(replace(command, argv=(*command.argv[:-1], "0"))))

    def poll(self, array: SubmittedArray) -> dict[int, str]:
        (query,) = SYSTEM.build_query((array,))
        found = SYSTEM.parse_query(query, self.run(query.command)).elements[array.array.name]
        return {index: native.code for index, native in sorted(found.items())}

    def read_history(self, array: SubmittedArray) -> dict[int, str]:
        (query,) = SYSTEM.build_history((array,))
        found = SYSTEM.parse_history(query, self.run(query.command)).elements[array.array.name]
        return {index: native.code for index, native in sorted(found.items())}

    def cancel(self, array: SubmittedArray, elements: list[int] | None) -> None:
        for command in SYSTEM.build_cancel(array, elements):
            SYSTEM.parse_action(array, self.run(command), "cancelled")

    def release(self, array: SubmittedArray, elements: list[int]) -> None:
        for command in SYSTEM.build_release(array, elements):
            SYSTEM.parse_action(array, self.run(command), "released")

    def wait(self, array: SubmittedArray, wanted: dict[int, str]) -> None:
        for _ in range(400):
            if self.poll(array) == wanted:
                return
        assert self.poll(array) == wanted


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setenv("FAKE_BATCH", str(tmp_path))
    monkeypatch.setenv("PATH", f"{FAKES}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    yield Fake(tmp_path)
    engine.shut_down()


def test_an_array_goes_through_the_fake(fake: Fake) -> None:
    array = fake.submit(3, "exit $SLURM_ARRAY_TASK_ID")
    fake.wait(array, {0: "COMPLETED", 1: "FAILED", 2: "FAILED"})
    assert fake.look_up(array.array) == (array.ids,)
    assert fake.look_up(make_array("caf_b")) == ()
    engine.purge(int(array.ids[0]))
    assert fake.poll(array) == {}
    assert fake.read_history(array) == {0: "COMPLETED", 1: "FAILED", 2: "FAILED"}
    assert fake.look_up(array.array) == (array.ids,)
    engine.set_faults(no_history=True)
    assert fake.read_history(array) == {}


def test_a_submission_that_is_taken_up_late_is_found(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = make_array("caf_a", 1, folder=str(fake.work))
    submission = SYSTEM.build_submit(array)
    Path(array.script_file).write_text("#!/bin/sh\n")
    # The lookup finds nothing, and waits; that is the moment.
    late = tmp_path / "sleep"
    late.write_text(f"#!/bin/sh\nexec {shlex.join(submission.command.argv)} > {tmp_path}/id\n")
    late.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = SYSTEM.parse_lookup(array, fake.run(SYSTEM.build_lookup(array)))
    assert found == (((tmp_path / "id").read_text().strip(),),)


def test_an_element_that_waits_is_cancelled_and_not_lost(fake: Fake) -> None:
    array = fake.submit(4, "sleep 600", throttle=1)
    fake.wait(array, {0: "RUNNING", 1: "PENDING", 2: "PENDING", 3: "PENDING"})
    fake.cancel(array, [0, 2])
    fake.wait(array, {0: "CANCELLED", 1: "RUNNING", 2: "CANCELLED", 3: "PENDING"})
    # Without the hold nothing is left of it.
    fake.run(Command(argv=("scancel", f"{array.ids[0]}_3")))
    assert fake.poll(array) == {0: "CANCELLED", 1: "RUNNING", 2: "CANCELLED"}
    assert fake.read_history(array) == {0: "CANCELLED", 2: "CANCELLED"}
    fake.cancel(array, None)
    fake.wait(array, dict.fromkeys(range(3), "CANCELLED"))
    fake.cancel(array, [0, 1, 2])
    fake.cancel(array, None)


def test_a_held_element_is_released(fake: Fake) -> None:
    array = fake.submit(2, "exit 0", extra_lines=())
    fake.wait(array, {0: "COMPLETED", 1: "COMPLETED"})
    held = fake.submit(2, "#SBATCH --hold\nexit 0")
    assert fake.poll(held) == {0: "PENDING_HELD", 1: "PENDING_HELD"}
    fake.release(held, [1])
    fake.wait(held, {0: "PENDING_HELD", 1: "COMPLETED"})
    fake.release(held, [0, 1])
    fake.wait(held, {0: "COMPLETED", 1: "COMPLETED"})


def test_a_controller_that_is_down_is_no_answer(fake: Fake) -> None:
    array = fake.submit(1, "sleep 600")
    engine.set_faults(down=True)
    for call in (fake.poll, fake.read_history):
        with pytest.raises(PollError, match="did not answer"):
            call(array)
    for elements in ([0], None):
        with pytest.raises(PollError, match="could not be"):
            fake.cancel(array, elements)
    with pytest.raises(SubmitError, match="It is not known"):
        fake.look_up(array.array)
    with pytest.raises(SubmitError, match="Unable to contact slurm controller"):
        fake.submit(1, "exit 0")


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"queue": "nosuch"}, "Invalid partition name specified"),
        ({"memory": 10**8}, "Requested node configuration is not available"),
    ],
)
def test_the_fake_refuses_what_a_site_refuses(fake: Fake, resources: dict[str, Any], text: str) -> None:
    with pytest.raises(SubmitError, match=text):
        fake.submit(1, "exit 0", **resources)


def test_the_fake_refuses_an_array_that_is_too_large(fake: Fake) -> None:
    with pytest.raises(SubmitError, match="Invalid job array specification") as caught:
        fake.submit(1002, "exit 0")
    assert "array_limit" in str(caught.value.hint)
    assert SYSTEM.largest_array == 1000
