"""The end of a run: the joined database, its gaps, and a publication that happens once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_caf.core.errors import CheckpointError, JobFailed, NotEnoughData
from airflow_provider_caf.definitions.caf import Publish
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.ending import Publication, join_run

if TYPE_CHECKING:
    from tests.unit.conftest import Lab


def finish_with_a_hole(lab: Lab) -> None:
    """Run a calibration that leaves the run 1.2 without a payload."""
    lab.prepare(lab.calibration(algorithms=lab.algorithm(strategy="HoleStrategy"), max_iterations=0))
    lab.take_merged()
    lab.calibrate()
    lab.decide()
    lab.finish()


def test_gaps_are_reported_filled_or_refused(lab: Lab) -> None:
    finish_with_a_hole(lab)
    joined = join_run(lab.run, "report")
    assert joined.payloads == {"Mean": 3}
    assert list(joined.gaps) == ["Mean"]
    assert json.loads(lab.run.gaps.read_text())["open"]["Mean"]["runs"] == [[1, 2]]
    with pytest.raises(NotEnoughData, match="1 payloads leave gaps"):
        join_run(lab.run, "fail")
    filled = join_run(lab.run, "fill")
    assert (dict(filled.gaps), [str(each.after) for each in filled.filled]) == ({}, ["1,1,1,2"])
    database = LocalDatabase(lab.run.database)
    assert database.verify() == 3
    assert [str(entry.iov) for entry in database.entries()] == ["1,1,1,2", "1,3,1,3", "2,1,2,1"]
    # The calibration's own database is as it was.
    assert str(LocalDatabase(lab.layout().database).entries()[0].iov) == "1,1,1,1"


def test_a_run_in_which_nothing_is_saved_has_an_empty_database(lab: Lab) -> None:
    lab.run.folder.mkdir(parents=True)
    assert join_run(lab.run, "fail").payloads == {}
    assert LocalDatabase(lab.run.database).entries() == ()


def test_a_database_is_published_to_a_folder_once(lab: Lab, tmp_path: Path) -> None:
    finish_with_a_hole(lab)
    join_run(lab.run, "report")
    publication = Publication(lab.run, Publish(folder=str(tmp_path / "accepted")))
    what, before = publication.run()
    assert not before
    target = Path(what.removeprefix("copied to "))
    assert len(LocalDatabase(target).entries()) == 3
    assert publication.run() == (what, True)


def test_a_command_of_the_site_runs_once(lab: Lab, tmp_path: Path) -> None:
    lab.run.database.mkdir(parents=True)
    publish = Publish(command=["bash", "-c", f'echo "$1" >> {tmp_path}/calls', "-", "{database}"])
    assert Publication(lab.run, publish).run() == ("ran bash", False)
    assert Publication(lab.run, publish).run() == ("ran bash", True)
    assert (tmp_path / "calls").read_text() == f"{lab.run.database}\n"


def test_a_command_whose_end_nobody_saw_is_not_run_again_by_itself(lab: Lab) -> None:
    publish = Publish(command=["true"])
    lab.run.publish_folder.mkdir(parents=True)
    begun = lab.run.publish_folder / "begun.json"
    begun.write_text("{}")
    with pytest.raises(CheckpointError, match="nobody knows how far it came") as caught:
        Publication(lab.run, publish).run()
    assert str(begun) in str(caught.value.hint)
    begun.unlink()
    assert Publication(lab.run, publish).run() == ("ran true", False)


@pytest.mark.parametrize(
    ("command", "what"),
    [(("bash", "-c", "echo refused; exit 2"), "exit code 2"), (("/no/such/tool",), "cannot be started")],
)
def test_a_command_that_failed_can_be_run_again(lab: Lab, command: tuple[str, ...], what: str) -> None:
    with pytest.raises(JobFailed, match=what) as caught:
        Publication(lab.run, Publish(command=list(command))).run()
    assert "refused" not in command[-1] or "| refused" in str(caught.value)
    assert Publication(lab.run, Publish(command=["true"])).run() == ("ran true", False)
