"""The documentation against the code and against itself."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.cli.cli_config import GroupCommand
from airflow.cli.cli_parser import get_parser

import airflow_provider_caf
from airflow_provider_caf.batch.arguments import ARGUMENTS
from airflow_provider_caf.cli.definition import get_caf_cli_commands
from airflow_provider_caf.core import errors
from airflow_provider_caf.core.strategies import BUILT_IN
from airflow_provider_caf.definitions.files import read_definition
from airflow_provider_caf.definitions.schema import build_schema
from airflow_provider_caf.get_provider_info import get_provider_info
from airflow_provider_caf.worker import Algorithm, Collector, ResultCode
from airflow_provider_caf.worker.basf2.dropin.caf.database import CAFDB
from airflow_provider_caf.worker.basf2.dropin.caf.framework import Calibration

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted([*(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *DOCS.rglob("*.md")])

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)>\s]+)>?\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def name_page(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def remove_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))


def list_anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def list_links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for target in _LINK.findall(remove_code(page.read_text("utf-8"))):
            if "://" not in target and not target.startswith("mailto:"):
                yield page, target


def list_python_blocks() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, match in enumerate(_FENCE.finditer(page.read_text("utf-8"))):
            if match["language"] == "python":
                yield f"{name_page(page)}:{number}", match["text"]


def list_definitions() -> Iterator[tuple[str, str]]:
    """Give the YAML blocks that are whole definitions."""
    for page in PAGES:
        for number, match in enumerate(_FENCE.finditer(page.read_text("utf-8"))):
            if match["language"] == "yaml" and match["text"].startswith("name:"):
                yield f"{name_page(page)}:{number}", match["text"]


def get_section(page: Path, heading: str) -> str:
    """Give the text below a heading, up to the next one of its level."""
    match = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert match, f"{name_page(page)} has no section {heading!r}"
    return match[1]


def list_rows(text: str) -> set[str]:
    """Give the names in backticks in the first column of all tables; of a call only the function's name."""
    cells = re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)
    return {re.split(r"\W", word)[0] for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def list_public(cls: type) -> set[str]:
    names = {name for name in vars(cls) if not name.startswith("_")}
    return names | {name for name in cls.__annotations__ if not name.startswith("_")}


def test_pages_are_found() -> None:
    assert {"README.md", "docs/README.md", "docs/reference/worker.md"} <= {name_page(page) for page in PAGES}
    assert len(list(list_links())) > 50
    assert len(list(list_python_blocks())) > 20
    assert len(list(list_definitions())) > 10


@pytest.mark.parametrize(
    ("page", "target"), [pytest.param(*each, id=f"{name_page(each[0])}-{each[1]}") for each in list_links()]
)
def test_link(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    found = page.parent / path if path else page
    assert found.exists(), f"{name_page(page)} links to {target}, which is not there"
    if anchor:
        assert anchor in list_anchors(found), (
            f"{name_page(page)} links to {target}; there is {sorted(list_anchors(found))}"
        )


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name_page)
def test_page_is_reached_from_the_index(page: Path) -> None:
    reached = {
        (DOCS / target.partition("#")[0]).resolve() for source, target in list_links() if source == DOCS / "README.md"
    }
    assert page == DOCS / "README.md" or page in reached


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in list_python_blocks()])
def test_python_block_compiles(text: str) -> None:
    compile(text, "block", "exec")


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in list_definitions()])
def test_definition_can_be_read(text: str, tmp_path: Path) -> None:
    file = tmp_path / "definition.yaml"
    file.write_text(text, encoding="utf-8")
    read_definition(file).resolve()


@pytest.mark.parametrize("name", ["CAF", "Calibration", "Collection", "Algorithm"])
def test_definition_has_every_argument(name: str) -> None:
    documented = list_rows(get_section(REFERENCE / "definitions.md", name))
    assert documented >= set(inspect.signature(getattr(airflow_provider_caf, name)).parameters)


def test_the_tables_of_words_are_those_of_the_schema() -> None:
    """`python scripts/write_reference.py` writes them."""
    script = PROJECT / "scripts" / "write_reference.py"
    assert subprocess.run([sys.executable, str(script), "--check"], check=False).returncode == 0
    text = (REFERENCE / "definitions.md").read_text("utf-8")
    assert all(f"| `{word}` |" in text for word in build_schema()["properties"])


def list_commands() -> dict[str, set[str]]:
    """Give the options of every command."""
    (group,) = get_caf_cli_commands()
    assert isinstance(group, GroupCommand)
    return {
        command.name: {flag for argument in command.args for flag in argument.flags} for command in group.subcommands
    }


@pytest.mark.parametrize("name", list_commands())
def test_command_has_every_option(name: str) -> None:
    cells = re.findall(r"^\|([^|]*)\|", get_section(REFERENCE / "command-line.md", name), re.MULTILINE)
    assert {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)} == list_commands()[name]


def test_the_ways_of_the_experiments_status_tool_are_commands() -> None:
    """All that its database holds can be set: these are the columns of `CAFDB`, and each has a row."""
    section = get_section(DOCS / "how-to" / "steer-a-run.md", "In the place of `b2caf-status`")
    columns = CAFDB.default_schema["calibrations"]
    changed = {word for word in re.findall(r"`update \w+ (\w+)", section)}
    assert changed == {column.split()[0] for column in columns} - {"name"}
    assert {word for word in re.findall(r"`update \w+ checkpoint (\w+)", section)} == set(Calibration.checkpoint_states)
    commands = re.findall(r"`airflow (caf [^`]+)`", section)
    assert len(commands) == 6
    for words in commands:
        get_parser().parse_args(words.split())


def test_batch_arguments_are_complete() -> None:
    section = get_section(REFERENCE / "definitions.md", "Arguments of the batch system")
    assert list_rows(section) == set(ARGUMENTS)


@pytest.mark.parametrize("cls", [Collector, Algorithm])
def test_worker_class_has_every_attribute(cls: type) -> None:
    assert list_rows(get_section(REFERENCE / "worker.md", cls.__name__)) == list_public(cls)


def test_result_codes_are_complete() -> None:
    assert list_rows(get_section(REFERENCE / "worker.md", "ResultCode")) == {code.name for code in ResultCode}


@pytest.mark.parametrize("name", BUILT_IN)
def test_strategy_has_every_parameter(name: str) -> None:
    assert list_rows(get_section(REFERENCE / "strategies.md", name)) == set(BUILT_IN[name].list_params())


def test_errors_are_complete() -> None:
    known = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, errors.CafError)
    }
    assert list_rows((REFERENCE / "errors.md").read_text("utf-8")) == known - {"CafError"}


def test_options_are_complete() -> None:
    section = get_section(REFERENCE / "configuration.md", "Airflow options, section `[caf]`")
    assert list_rows(section) == set(get_provider_info()["config"]["caf"]["options"])
