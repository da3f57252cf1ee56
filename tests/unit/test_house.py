"""The house itself: what must hold for the checkout as a whole and belongs to no single room."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_caf
import check_engine

TOP = Path(__file__).resolve().parents[2]
PACKAGE = TOP / "airflow_provider_caf"
PROJECT: dict[str, Any] = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS: list[dict[str, Any]] = PROJECT["tool"]["importlinter"]["contracts"]
ENGINE = sorted(path for room in check_engine.ROOMS for path in (PACKAGE / room).rglob("*.py"))


def list_rooms() -> set[str]:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    return packages | modules


def list_modules(*rooms: str) -> list[str]:
    files = [path for room in rooms for path in sorted((PACKAGE / room).rglob("*.py"))]
    names = [".".join(path.relative_to(TOP).with_suffix("").parts) for path in files]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def list_tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, check=True, capture_output=True, text=True)
    paths = [TOP / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def find_loaded(imports: list[str], wanted: list[str]) -> list[str]:
    """Import modules in a Python of its own and say which of the wanted ones that loaded."""
    code = (
        "import importlib, json, sys\n"
        f"for name in {imports!r}: importlib.import_module(name)\n"
        f"print(json.dumps([name for name in {wanted!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded: list[str] = json.loads(done.stdout.splitlines()[-1])
    return loaded


@pytest.mark.parametrize("door", ["operators", "sensors"])
def test_doors_at_the_top_lead_into_the_package(door: str) -> None:
    assert (TOP / door).is_symlink()
    assert (TOP / door).readlink() == Path("airflow_provider_caf", door)
    assert (TOP / door / "__init__.py").is_file()


def test_importing_the_package_loads_neither_airflow_nor_root() -> None:
    assert find_loaded(["airflow_provider_caf"], ["airflow", "ROOT", "pydantic", "sqlalchemy"]) == []


def test_the_engine_can_be_imported_with_nothing_installed() -> None:
    modules = check_engine.list_modules(*check_engine.ROOMS)
    assert len(modules) > 100
    assert check_engine.check_imports(Path(sys.executable), modules) == ""
    assert "pydantic is not to be imported" in check_engine.check_imports(
        Path(sys.executable), ["airflow_provider_caf.definitions.caf"]
    )


@pytest.mark.slow
def test_rooms_behind_the_edge_load_no_airflow_and_no_root() -> None:
    modules = list_modules("definitions", "io", "steps")
    assert find_loaded(modules, ["airflow", "ROOT"]) == []


def test_commands_load_airflow_only_when_they_run() -> None:
    # What is declared is read by Airflow's own command line, and these run inside it.
    names = ("definition", "look", "plan", "prompt", "report", "script", "steer", "trial")
    inside = {f"airflow_provider_caf.cli.{name}" for name in names}
    modules = [name for name in list_modules("cli") if name not in inside]
    assert len(modules) >= 5
    assert find_loaded(modules, ["airflow", "ROOT"]) == []


@pytest.mark.slow
def test_what_every_airflow_command_loads_of_ours_is_light() -> None:
    """The declaration of the commands is read by each of them."""
    heavy = ["airflow_provider_caf.definitions", "airflow_provider_caf.steps", "ROOT"]
    assert find_loaded(["airflow_provider_caf.cli.definition"], heavy) == []


@pytest.mark.slow
def test_a_dag_of_definitions_loads_none_of_airflows_models() -> None:
    """They take as long to import as all of ours together, in each parse of a DAG file."""
    ours = [
        "airflow_provider_caf.operators.strategy",
        "airflow_provider_caf.factory.dag",
        "airflow_provider_caf.factory.folder",
    ]
    heavy = ["airflow.models.dagrun", "airflow.api.common.trigger_dag", "airflow_provider_caf.factory.script"]
    others = ["paramiko", "matplotlib", "numpy", "ROOT"]
    assert find_loaded(ours, [*heavy, *others]) == []
    assert find_loaded(["airflow_provider_caf.factory.script"], heavy) == heavy


def test_get_provider_info_loads_only_the_standard_library() -> None:
    wanted = ["airflow", "ROOT", "airflow_provider_caf.core.errors", "pydantic", "sqlalchemy", "yaml"]
    assert find_loaded(["airflow_provider_caf.get_provider_info"], wanted) == []


def test_airflow_finds_the_provider() -> None:
    points = importlib.metadata.distribution("airflow-provider-caf").entry_points
    (point,) = points.select(group="apache_airflow_provider")
    assert point.name == "provider_info"
    assert point.load()()["package-name"] == "airflow-provider-caf"


def test_public_names_are_there() -> None:
    missing = [name for name in airflow_provider_caf.__all__ if not hasattr(airflow_provider_caf, name)]
    assert missing == []


def test_every_room_has_a_row_in_the_import_table() -> None:
    rows = [contract for contract in CONTRACTS if contract["type"] == "allowed_imports"]
    named = [room.partition(".")[0] for row in rows for room in row["rooms"]]
    assert set(named) == list_rooms()
    whole = [room for row in rows for room in row["rooms"] if "." not in room]
    assert len(whole) == len(set(whole)), "a room has two rows"


def test_every_part_that_a_row_leaves_out_has_a_row() -> None:
    rows = [contract for contract in CONTRACTS if contract["type"] == "allowed_imports"]
    rooms = {room for row in rows for room in row["rooms"]}
    assert {part for row in rows for part in row.get("apart_from", [])} <= rooms


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_engine_is_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 9))
    is_module_empty = all(isinstance(node, ast.Expr) for node in tree.body)
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    # Without it, annotations such as `int | None` are evaluated, which Python 3.9 cannot.
    assert is_module_empty or "annotations" in {alias.name for node in futures for alias in node.names}


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a folder of the machine it was written on", r"(?<![\w.…}>/$-])/(?:root|work)/\w"),
        ("this checkout's own folder", rf"(?<![\w.]){re.escape(str(TOP))}(?!\w)"),
        (
            "a package registry's host",
            r"\b(?:pypi\.org|pythonhosted\.org|deb\.debian\.org|registry\.npmjs\.org)",
        ),
    ],
)
def test_tracked_files_do_not_name(what: str, pattern: str) -> None:
    found = []
    for path in list_tracked_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(TOP)}: {match.group()!r}" for match in re.finditer(pattern, text)]
    assert found == [], f"these name {what}"


def test_constraints_pin_every_requirement() -> None:
    lines = (TOP / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[\w.+!]+", line)] == []
    assert pins == sorted(pins, key=lambda line: line.partition("==")[0])
    extras = PROJECT["project"]["optional-dependencies"]
    wishes = [*PROJECT["project"]["dependencies"], *(wish for wishes in extras.values() for wish in wishes)]
    names = {re.split(r"[\s\[<>=!~;]", wish)[0].lower().replace("_", "-") for wish in wishes}
    assert names - {"airflow-provider-caf"} <= {line.partition("==")[0] for line in pins}


def test_make_help_lists_the_commands_for_people() -> None:
    done = subprocess.run(["make", "help"], cwd=TOP, check=True, capture_output=True, text=True)
    commands = {" ".join(line.split()[:2]) for line in done.stdout.splitlines() if line.startswith("  make ")}
    tests = {"make test", "make test-fast", "make test-batch"}
    assert commands == {"make help", "make demo", "make serve", "make check", "make dist"} | tests


def test_ci_begins_with_what_the_readme_says_and_installs_no_more() -> None:
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    (packages,) = re.findall(r"`apt-get install ([^`]*)`", readme)
    commands = re.findall(r"(?m)^(make \w+) ", readme[readme.index("```sh") :])
    lines = [line.strip() for line in (TOP / ".ci" / "run").read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if " install " in line] == [f"apt-get install -y {packages}"]
    assert (
        [line for line in lines if line.startswith("make ")][: len(commands)] == commands == ["make demo", "make test"]
    )


def test_coverage_counts_the_whole_package() -> None:
    assert PROJECT["tool"]["coverage"]["run"] == {"branch": True, "source": ["airflow_provider_caf"]}


STARTERS = {"Popen", "run", "call", "check_call", "check_output", "posix_spawn", "posix_spawnp"}


def list_starts(path: Path) -> list[ast.Call]:
    """Return the calls that start another program."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    return [
        call
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id in ("subprocess", "os")
        and call.func.attr in STARTERS
    ]


def test_three_modules_start_programs_and_say_which_variables_these_get() -> None:
    """Else a program gets all of them, and among them the keys and passwords of Airflow."""
    starts = {path.relative_to(PACKAGE).as_posix(): list_starts(path) for path in PACKAGE.rglob("*.py")}
    starts = {name: calls for name, calls in starts.items() if calls}
    assert sorted(starts) == ["core/processes.py", "worker/job/subjob.py", "worker/programs.py"]
    for calls in starts.values():
        for call in calls:
            assert isinstance(call.func, ast.Attribute)
            # The variables of posix_spawn are its third argument.
            assert call.func.attr == "posix_spawnp" or "env" in [word.arg for word in call.keywords]


@pytest.mark.parametrize(
    ("module", "text", "is_refused"),
    [
        ("steps/new.py", "import subprocess\n", True),
        ("io/new.py", "from subprocess import run\n", True),
        ("worker/collect/new.py", "import os\n\nos.posix_spawnp('ls', ['ls'], {})\n", True),
        ("cli/new.py", "import os\n\nos.system('ls')\n", True),
        ("core/processes.py", "import subprocess\n", False),
    ],
)
def test_make_check_refuses_another_way_to_start_a_program(module: str, text: str, is_refused: bool) -> None:
    argv = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename"]
    done = subprocess.run(
        [*argv, f"airflow_provider_caf/{module}", "-"], cwd=TOP, input=text, capture_output=True, text=True, check=False
    )
    assert ("TID251" in done.stdout) is is_refused, done.stdout + done.stderr


# The drop-in modules are like those of the release, whose place they take.
@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_names_say_what_they_hold_and_docstrings_are_imperative(path: Path) -> None:
    text = path.read_text("utf-8")
    assert re.findall(r"\blaws? \d+", text) == [], "the reason itself says more than its number in a list"
    nodes = list(ast.walk(ast.parse(text)))
    names = [node for node in nodes if isinstance(node, ast.Name) and node.id == "each"]
    assert [node.lineno for node in names] == []
    documented = [node for node in nodes if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docstrings = [ast.get_docstring(node) or "" for node in documented]
    assert [line for line in docstrings if re.match(r"(?:Give|Tell)\b", line)] == []


def test_names_in_the_front_end_say_what_they_hold() -> None:
    scripts = sorted((PACKAGE / "plugin" / "static").glob("*.js"))
    assert len(scripts) > 5
    pattern = re.compile(r"\(each\b|\beach(?: =>|[.,)\]])")
    assert [script.name for script in scripts if pattern.search(script.read_text("utf-8"))] == []
