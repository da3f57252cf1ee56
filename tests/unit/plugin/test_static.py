"""The files of the page: complete, unchanged, and asking nobody outside."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

import airflow_provider_caf

STATIC = Path(airflow_provider_caf.__file__).parent / "plugin" / "static"
OURS = sorted(path for path in STATIC.iterdir() if path.suffix in (".js", ".html", ".css"))


def test_libraries_of_others_are_as_they_came() -> None:
    table = (STATIC / "vendor" / "README.md").read_text("utf-8")
    known = dict(re.findall(r"^\| `([^`]+)` .* `([0-9a-f]{64})` \|$", table, re.MULTILINE))
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (STATIC / "vendor").glob("*.js")}
    assert known == found
    assert len(found) == 2


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_our_files_name_no_address_outside(path: Path) -> None:
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"https?://[^\s\"'`]+", text) == []
    assert "innerHTML" not in text
    assert "eval(" not in text


def test_every_module_that_is_imported_is_there() -> None:
    for path in OURS:
        for name in re.findall(r'from "\./([^"]+)"', path.read_text("utf-8")):
            assert (STATIC / name).is_file(), f"{path.name} imports {name}"


def test_every_name_that_is_imported_is_exported() -> None:
    exported = {
        path.name: set(re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", path.read_text("utf-8"), re.M))
        for path in OURS
    }
    for path in OURS:
        for names, module in re.findall(r'import \{([^}]+)\} from "\./([^"]+)"', path.read_text("utf-8")):
            wanted = {name.strip() for name in names.split(",") if name.strip()}
            assert wanted <= exported[module], f"{path.name} from {module}"
            body = path.read_text("utf-8").partition(f'}} from "./{module}"')[2]
            unused = {name for name in wanted if not re.search(rf"\b{name}\b", body)}
            assert unused == set(), f"{path.name} does not use {unused}"
