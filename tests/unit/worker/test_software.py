"""Which software of the experiment a run names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from airflow_provider_caf.worker.basf2.script_algorithm import tell_software
from airflow_provider_caf.worker.basf2.software import find_software


@pytest.fixture(autouse=True)
def _outside_of_a_release(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BELLE2_RELEASE", "BELLE2_LOCAL_DIR"):
        monkeypatch.delenv(name, raising=False)


def install(monkeypatch: pytest.MonkeyPatch, **words: Any) -> None:
    """Have a `basf2.version` with these words in it; the label of `basf2` is as in all releases."""
    module, version = ModuleType("basf2"), ModuleType("basf2.version")
    vars(module).update(version=version, basf2label="BASF2 (Belle Analysis Software Framework 2)")
    vars(version).update(words)
    monkeypatch.setitem(sys.modules, "basf2", module)
    monkeypatch.setitem(sys.modules, "basf2.version", version)


def fail() -> str:
    raise RuntimeError("no library")


@pytest.mark.parametrize(
    ("words", "commit"),
    [
        ({"version": "abc", "release": "release-08-01-00"}, "abc"),
        ({"get_version": lambda: "def"}, "def"),
        ({"get_version": fail}, "unknown: RuntimeError: no library"),
        ({}, "unknown: AttributeError: module 'basf2.version' has no attribute 'version'"),
    ],
)
def test_the_release_and_its_commit(words: dict[str, Any], commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, **words)
    monkeypatch.setenv("BELLE2_RELEASE", "release-08-01-00")
    assert find_software() == {"basf2": "release-08-01-00", "basf2 commit": commit}


def test_where_there_is_none_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "basf2", None)
    assert find_software() == {}


def test_a_build_of_ones_own_has_a_commit_and_whether_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "basf2", None)
    monkeypatch.setenv("BELLE2_LOCAL_DIR", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert find_software() == {"BELLE2_LOCAL_DIR": str(tmp_path), "BELLE2_LOCAL_DIR commit": "unknown"}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "code.cc").write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "One"], ["tag", "-am", "Tag", "release"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert find_software()["BELLE2_LOCAL_DIR commit"] == commit
    (tmp_path / "code.cc").write_text("2")
    assert find_software()["BELLE2_LOCAL_DIR commit"] == f"{commit}-dirty"


def test_another_software_than_that_of_the_description_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    tell_software({"basf2": "release-08", "BELLE2_LOCAL_DIR": "/mine"}, {"basf2": "release-09"})
    tell_software({}, {"basf2": "release-09"})
    assert capsys.readouterr().out.splitlines() == [
        "basf2: release-09 (warning: when the script was described it was release-08)",
        "BELLE2_LOCAL_DIR: None (warning: when the script was described it was /mine)",
        "basf2: release-09",
    ]
