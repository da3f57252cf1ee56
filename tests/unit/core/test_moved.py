"""Names of earlier versions still lead to what they named."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from airflow_provider_caf.core import moved


@pytest.mark.parametrize(("old", "new"), sorted(moved._NEW_NAMES.items()))
def test_an_old_name_gives_what_the_new_one_has(old: str, new: str) -> None:
    if new.endswith((".sftp", ".ssh")):
        pytest.importorskip("paramiko")
    before, now = import_module(old), import_module(new)
    assert before is not now
    for name in vars(now):
        if not name.startswith("__"):
            assert getattr(before, name) is getattr(now, name)


def test_what_is_below_a_folder_that_moved_is_found() -> None:
    poll = import_module("airflow_provider_caf.io.jobs.poll")
    assert poll.Poller is import_module("airflow_provider_caf.jobs.poll").Poller
    script = import_module("airflow_provider_caf.worker.script_algorithm")
    assert script.ScriptAlgorithm is import_module("airflow_provider_caf.worker.basf2.script_algorithm").ScriptAlgorithm


@pytest.mark.parametrize("name", ["worker.nothing", "io.jobs.nothing", "worker.dropin.nothing", "workers"])
def test_other_names_are_not_found(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module(f"airflow_provider_caf.{name}")


def test_nothing_is_loaded_for_it() -> None:
    code = "import sys, airflow_provider_caf as ours; print(*(n for n in sys.modules if n.startswith(ours.__name__)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = {f"airflow_provider_caf{rest}" for rest in ("", ".core", ".core.lazy", ".core.moved")}
    assert set(done.stdout.split()) == names


def test_nobody_here_uses_an_old_name() -> None:
    top = Path(__file__).parents[3]
    old = "|".join(re.escape(name.partition(".")[2]) for name in moved._NEW_NAMES)
    pattern = re.compile(rf"\bairflow_provider_caf\.({old})\b")
    folders = ("airflow_provider_caf", "benchmarks", "dags", "scripts", "tests")
    files = [file for folder in folders for file in (top / folder).rglob("*.py") if file != Path(__file__)]
    texts = {file: _join_imports(file.read_text(encoding="utf-8")) for file in files}
    assert [f"{file}: {match[0]}" for file, text in texts.items() for match in pattern.finditer(text)] == []


def _join_imports(text: str) -> str:
    """Write `from a import b` as `a.b`."""
    return re.sub(r"from ([\w.]+) import (\w+)", r"\1.\2", text)
