"""The developers' scripts."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

TOP = Path(__file__).resolve().parents[2]


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOP / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("lines", "is_found"), [(60, False), (61, True)])
def test_check_sizes_limits_functions(lines: int, is_found: bool) -> None:
    text = "def long():\n" + "    pass\n" * (lines - 1) + "\n\nx = 1\n"
    found = list(load_script("check_sizes").find_oversize(Path("a.py"), text))
    assert found == (["a.py:1: long has 61 lines; a function has at most 60. Take a step out of it."] * is_found)


@pytest.mark.parametrize(("lines", "is_found"), [(500, False), (501, True)])
def test_check_sizes_limits_files(lines: int, is_found: bool) -> None:
    found = list(load_script("check_sizes").find_oversize(Path("a.py"), "x = 1\n" * lines))
    assert found == (["a.py: 501 lines; a file has at most 500. Split it by subject."] * is_found)


def test_pins_are_names_and_versions_only() -> None:
    script = load_script("pin_versions")
    items = [
        {"metadata": {"name": "Some_Thing", "version": "2"}, "download_info": {"url": "https://host/x.whl"}},
        {"metadata": {"name": "airflow-provider-caf", "version": "0"}, "download_info": {"url": "file:///x"}},
        {"metadata": {"name": "another", "version": "1.0"}, "download_info": {"url": "https://host/y.whl"}},
    ]
    pins = script.parse_report(json.dumps({"install": items}))
    assert pins == {"some-thing": "2", "another": "1.0"}
    text = script.build_constraints(pins, ["3.11", "3.12"])
    assert text.splitlines()[0].endswith("with Python 3.11, 3.12.")
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "another==1.0",
        "some-thing==2",
    ]


ROW = """
[tool.importlinter]
root_package = "airflow_provider_caf"
include_external_packages = true
contract_types = ["allowed_imports: scripts.import_table.AllowedImports"]

[[tool.importlinter.contracts]]
name = "row"
type = "allowed_imports"
rooms = ["io"]
ours = {ours}
third_party = ["tenacity"]
"""


def lint_small_house(folder: Path, module: str, ours: str = '["core"]') -> subprocess.CompletedProcess[str]:
    files = {
        "airflow_provider_caf/__init__.py": "",
        "airflow_provider_caf/core.py": "",
        "airflow_provider_caf/batch.py": "",
        "airflow_provider_caf/io/__init__.py": "",
        "airflow_provider_caf/io/client.py": module,
        "airflow_provider_caf/io/store.py": "",
        "scripts/import_table.py": (TOP / "scripts/import_table.py").read_text(encoding="utf-8"),
        "pyproject.toml": ROW.format(ours=ours),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "module",
    [
        "import json",
        "import os.path",
        "from airflow_provider_caf import core",
        "from airflow_provider_caf.io.store import name",
        "import airflow_provider_caf",
        "def wait():\n    from tenacity import retry",
    ],
)
def test_import_table_allows(tmp_path: Path, module: str) -> None:
    done = lint_small_house(tmp_path, module)
    assert "row KEPT" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("module", "stray"),
    [
        ("import rich.table", "imports rich (line 1)"),
        ("from airflow_provider_caf import batch", "imports airflow_provider_caf.batch (line 1)"),
        ("from airflow_provider_caf import CAF", "imports airflow_provider_caf (line 1)"),
        ("\ndef find():\n    import airflow.sdk", "imports airflow (line 3)"),
    ],
)
def test_import_table_finds(tmp_path: Path, module: str, stray: str) -> None:
    done = lint_small_house(tmp_path, module)
    assert f"airflow_provider_caf.io.client {stray}" in " ".join(done.stdout.split())
    assert done.returncode == 1


def test_import_table_refuses_a_name_that_is_not_there(tmp_path: Path) -> None:
    done = lint_small_house(tmp_path, "import json", ours='["croe"]')
    assert "The import table names airflow_provider_caf.croe, and there is no such module." in done.stdout
    assert done.returncode == 1
