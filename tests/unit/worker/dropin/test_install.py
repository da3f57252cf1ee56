"""The modules by the names of the reference, each time in a Python of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import airflow_provider_caf

pytestmark = pytest.mark.slow

PACKAGE = Path(airflow_provider_caf.__file__).parent
MODULES = [
    "caf",
    "caf.framework",
    "caf.strategies",
    "caf.utils",
    "caf.backends",
    "caf.cli",
    "caf.state_machines",
    "caf.runners",
    "caf.database",
    "prompt",
    "prompt.utils",
]
INSTALL = "from airflow_provider_caf.worker.basf2.dropin import install\ninstall()\n"


def run(code: str, *path: Path, folder: Path) -> str:
    """Run code in a Python whose path begins with some folders."""
    text = os.pathsep.join(map(str, path or [PACKAGE.parent]))
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": text},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def write_script(folder: Path, name: str, text: str = "settings = __name__") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    return folder


SAME = f"""
import importlib, sys
for name in {MODULES!r}:
    found = importlib.import_module(name)
    assert found is importlib.import_module("airflow_provider_caf.worker.basf2.dropin." + name), name
    assert found.__name__ == found.__spec__.name == "airflow_provider_caf.worker.basf2.dropin." + name, found
import caf.backends
assert caf.backends is sys.modules["caf.backends"]
from caf import strategies
from caf.framework import CAF
print(airflow_provider_caf.__file__)
"""


def test_a_module_is_one_by_both_names(tmp_path: Path) -> None:
    assert "airflow_provider_caf" in run("import airflow_provider_caf\n" + INSTALL + SAME, folder=tmp_path)


def test_it_works_from_a_zip_file(tmp_path: Path) -> None:
    archive = tmp_path / "app.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        for path in [PACKAGE / "__init__.py", *(PACKAGE / "core").rglob("*.py"), *(PACKAGE / "worker").rglob("*.py")]:
            file.write(path, path.relative_to(PACKAGE.parent))
    printed = run("import airflow_provider_caf\n" + INSTALL + SAME, archive, folder=tmp_path)
    assert printed.startswith(str(archive))


def test_installing_twice_is_as_once(tmp_path: Path) -> None:
    code = INSTALL + "import sys, caf.utils\nbefore = caf.utils.IoV\ncount = len(sys.meta_path)\n" + INSTALL
    assert run(code + "import caf.utils\nprint(caf.utils.IoV is before, len(sys.meta_path) == count)", folder=tmp_path)


def test_ours_come_before_others_on_the_path(tmp_path: Path) -> None:
    write_script(tmp_path / "other" / "caf", "__init__", "")
    code = INSTALL + "import caf.utils\nprint(caf.__name__)"
    assert run(code, tmp_path / "other", PACKAGE.parent, folder=tmp_path).strip().startswith("airflow_provider_caf.")


def test_another_that_is_imported_already_is_an_error(tmp_path: Path) -> None:
    write_script(tmp_path / "caf", "__init__", "")
    code = f"""
import caf
from airflow_provider_caf.core.errors import DefinitionError
try:
    {INSTALL.replace(chr(10), "; ").rstrip("; ")}
except DefinitionError as error:
    print(error)
"""
    printed = run(code, tmp_path, PACKAGE.parent, folder=tmp_path)
    assert f"Another 'caf' is imported already: {tmp_path}/caf/__init__.py" in printed
    assert "--caf release" in printed


def test_nothing_else_is_loaded(tmp_path: Path) -> None:
    code = INSTALL + f"import importlib, sys\nfor name in {MODULES!r}: importlib.import_module(name)\n"
    wanted = ["ROOT", "basf2", "airflow", "pydantic"]
    assert run(code + f"print([name for name in {wanted} if name in sys.modules])", folder=tmp_path) == "[]\n"


@pytest.mark.parametrize("kind", ["calibrations", "validations"])
def test_scripts_are_found_in_folders_and_on_the_path(tmp_path: Path, kind: str) -> None:
    given = write_script(tmp_path / "scripts", "one", f"from prompt.{kind}.two import settings")
    write_script(tmp_path / "site" / "prompt" / kind, "two")
    code = f"""
from airflow_provider_caf.worker.basf2.dropin import install
install([{str(given)!r}])
from prompt.{kind}.one import settings
print(settings)
"""
    assert run(code, tmp_path / "site", PACKAGE.parent, folder=tmp_path) == f"prompt.{kind}.two\n"


def test_folders_can_be_added_later(tmp_path: Path) -> None:
    first, second = write_script(tmp_path / "a", "one"), write_script(tmp_path / "b", "two")
    code = f"""
from airflow_provider_caf.worker.basf2.dropin import install
install([{str(first)!r}])
from prompt.calibrations.one import settings
install([{str(second)!r}])
from prompt.calibrations.two import settings as other
from prompt.calibrations import one
print(settings, other)
"""
    assert run(code, folder=tmp_path) == "prompt.calibrations.one prompt.calibrations.two\n"


@pytest.mark.parametrize("name", ["prompt.calibrations", "prompt.calibrations.other", "caf.nothing"])
def test_what_is_not_there_is_a_normal_error(tmp_path: Path, name: str) -> None:
    code = f"""
import sys
try:
    import {name}
except ModuleNotFoundError as error:
    print(error.name)
"""
    expected = "prompt.calibrations" if "prompt" in name else name
    assert run(INSTALL + code, folder=tmp_path).strip() == expected


def test_the_lists_of_filters_and_formats_are_those_of_the_release(tmp_path: Path) -> None:
    """The release's own `prompt` lies behind ours on the path; it is read, and not imported."""
    release = tmp_path / "release"
    (release / "prompt").mkdir(parents=True)
    (release / "prompt" / "__init__.py").write_text(
        "import basf2\n"
        'INPUT_DATA_FILTERS = {"Data Tag": {"new_calib": "Data Tag: new_calib"}}\n'
        "class CalibrationSettings:\n"
        '    allowed_data_formats = frozenset({"raw", "new"})\n'
    )
    code = (
        f"{INSTALL}"
        "from prompt import INPUT_DATA_FILTERS, CalibrationSettings\n"
        "import warnings; warnings.simplefilter('error')\n"
        "name = INPUT_DATA_FILTERS['Data Tag']['new_calib']\n"
        "settings = CalibrationSettings('Mean', 'expert', 'cdc', 'text', ['new'], ['a'], {'a': [name, 'new_calib']})\n"
        "print(settings.input_data_filters, sorted(settings.allowed_data_formats), dict(INPUT_DATA_FILTERS))\n"
    )
    assert run(code, release, PACKAGE.parent, folder=tmp_path).splitlines() == [
        "{'a': ['Data Tag: new_calib', 'new_calib']} ['new', 'raw'] {'Data Tag': {'new_calib': 'Data Tag: new_calib'}}"
    ]
