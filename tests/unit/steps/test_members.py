"""Steps that collect nothing: what they import, run and leave."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.errors import DatabaseError, DefinitionError, JobFailed
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.definitions.calibration import ExternalCommand
from airflow_provider_caf.definitions.stored import read_stored_member
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.command import CommandRun
from airflow_provider_caf.steps.finish import list_finished
from airflow_provider_caf.steps.members import StepRun

if TYPE_CHECKING:
    from tests.unit.conftest import Lab

SAVE = """
import hashlib, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
data = b"root" + sys.argv[2].encode()
revision = hashlib.md5(data).hexdigest()
(folder / f"dbstore_Made_rev_{revision}.root").write_bytes(data)
(folder / "database.txt").write_text(f"dbstore/Made {revision} 1,0,-1,-1\\n")
print("made by", os.environ["CAMPAIGN"], os.environ["CAF_RUN_ID"])
"""

OWN = """
from pathlib import Path

from airflow_provider_caf import CalibrationBase


class Noting(CalibrationBase):
    text: str
    times: int = 1

    def run(self, step):
        Path(step.folder, "note.txt").write_text(self.text * self.times)
        step.log(f"sees {[entry.get('path') for entry in step.database_chain]} in {step.run_id}")


class Other:
    pass
"""


def make_database(folder: Path, *payloads: tuple[str, IoV]) -> LocalDatabase:
    file = folder.with_suffix(".payload")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"root")
    database = LocalDatabase(folder)
    database.commit([(name, file, iov) for name, iov in payloads])
    return database


def run(
    lab: Lab,
    kind: str,
    options: dict[str, Any],
    said: list[str] | None = None,
    ancestors: Sequence[str] = (),
    **changes: Any,
) -> LocalDatabase:
    step = read_stored_member({"name": "step", "type": kind, **options, **changes})
    words: dict[str, Any] = {
        "ancestors": ancestors,
        "database_chain": (DatabaseEntry(kind="global_tag", value="main"),),
        "run_id": "the run",
        "say": ([] if said is None else said).append,
    }
    if isinstance(step, ExternalCommand):
        return lab.run_command(CommandRun(step, lab.layout("step"), **words))
    return StepRun(step, lab.layout("step"), **words).run()


def test_payloads_are_imported_with_their_files(lab: Lab, tmp_path: Path) -> None:
    source = make_database(tmp_path / "by_hand", ("Spot", IoV(1, 0, 1, 5)), ("Gain", IoV(1, 0, -1, -1)))
    database = run(lab, "imported_payloads", {"folder": str(source.folder), "payloads": ["Gain"]})
    assert [(entry.name, str(entry.iov)) for entry in database.entries()] == [("Gain", "1,0,-1,-1")]
    assert database.verify() == 1
    # The run has a copy, and its joined database has it too.
    assert [entry.name for entry in LocalDatabase(lab.layout("step").run_database).entries()] == ["Gain"]
    assert [member.name for member in list_finished(lab.layout("step").run_folder)] == ["step"]
    everything = run(lab, "imported_payloads", {"folder": str(source.folder), "payloads": None}, save_payloads=False)
    assert {entry.name for entry in everything.entries()} == {"Spot", "Gain"}
    assert LocalDatabase(lab.layout("step").run_database).entries() == ()


def test_what_cannot_be_imported_is_told(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="There is no local database in /nowhere"):
        run(lab, "imported_payloads", {"folder": "/nowhere"})
    source = make_database(tmp_path / "by_hand", ("Spot", IoV(1, 0, 1, 5)))
    with pytest.raises(DefinitionError, match="imports the payload 'Spt', which is not in") as caught:
        run(lab, "imported_payloads", {"folder": str(source.folder), "payloads": ["Spt"]})
    assert "Did you mean 'Spot'" in str(caught.value.hint)
    file = source.get_file(source.entries()[0])
    file.chmod(0o600)
    file.write_bytes(b"other")
    with pytest.raises(DatabaseError, match=r"1 of 1 payloads .* are damaged"):
        run(lab, "imported_payloads", {"folder": str(source.folder)})


def test_a_command_fills_a_database(lab: Lab) -> None:
    said: list[str] = []
    command = [sys.executable, "-c", SAVE, "{database}", "first; $(touch evil)"]
    database = run(lab, "external_command", {"command": command, "environment": {"CAMPAIGN": "prompt"}}, said)
    assert [(entry.name, str(entry.iov)) for entry in database.entries()] == [("Made", "1,0,-1,-1")]
    assert "| made by prompt the run" in said
    assert not (lab.layout("step").folder / "evil").exists()
    again = run(
        lab,
        "external_command",
        {"command": [*command[:-1], "second"], "environment": {"CAMPAIGN": "prompt"}},
    )
    assert len(again.entries()) == 1


def test_a_command_sees_what_it_depends_on(lab: Lab) -> None:
    layout = lab.layout("step")
    run(
        lab,
        "external_command",
        {"command": ["cp", "{database_chain}", "{folder}/seen.json"]},
        ancestors=("near", "far"),
    )
    assert json.loads((layout.folder / "seen.json").read_text()) == [
        {"kind": "local", "path": str(layout.sibling("near").database)},
        {"kind": "local", "path": str(layout.sibling("far").database)},
        {"kind": "global_tag", "name": "main"},
    ]


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["bash", "-c", "echo no disk >&2; exit 3"], "exit code 3"),
        (["bash", "-c", "kill -9 $$"], "ended by signal SIGKILL"),
        (["/no/such/program"], "exit code 1"),
    ],
)
def test_a_command_that_fails_says_why(lab: Lab, command: list[str], what: str) -> None:
    with pytest.raises(JobFailed, match=what) as caught:
        run(lab, "external_command", {"command": command})
    if what == "exit code 1":
        assert "cannot be started: '/no/such/program': No such file" in str(caught.value)
    if "no disk" in command[-1]:
        assert "| no disk" in str(caught.value)
        assert str(lab.layout("step").command_log) in str(caught.value)
    assert not lab.layout("step").database.exists()


def test_a_type_of_ones_own_runs_with_its_words(lab: Lab, tmp_path: Path) -> None:
    module = tmp_path / "own.py"
    module.write_text(OWN)
    said: list[str] = []
    database = run(lab, "own", {"text": "ab", "times": 2}, said, type=f"{module}:Noting", ancestors=("near",))
    assert database.entries() == ()
    assert (lab.layout("step").folder / "note.txt").read_text() == "abab"
    assert said[0] == f"sees ['{lab.layout('near').database}', None] in the run"
    with pytest.raises(DefinitionError, match="has no 'text'"):
        run(lab, "own", {}, type=f"{module}:Noting")
    with pytest.raises(DefinitionError, match="is no CalibrationBase"):
        run(lab, "own", {}, type=f"{module}:Other")


def test_a_signal_without_a_name_is_told_by_its_number(lab: Lab) -> None:
    with pytest.raises(JobFailed, match="The command of step 'step' failed: ended by signal 40"):
        run(lab, "external_command", {"command": ["bash", "-c", "kill -40 $$"]})


def test_a_command_gets_none_of_airflows_variables(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    monkeypatch.setenv("AIRFLOW_CONN_CAF_CATALOG", "secret")
    monkeypatch.setenv("OF_THE_SITE", "kept")
    run(lab, "external_command", {"command": ["env"], "environment": {"OWN": "set"}})
    lines = lab.layout("step").command_log.read_text().splitlines()
    assert {"OF_THE_SITE=kept", "OWN=set", "CAF_RUN_ID=the run"} <= set(lines)
    assert not [line for line in lines if "AIRFLOW" in line or "secret" in line]
