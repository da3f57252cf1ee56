"""What happens while Airflow parses a DAG file: nothing but Python.

Two fresh processes with different hash seeds parse the demonstration and watch what they do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TOP = Path(__file__).resolve().parents[3]

CHILD = """
import json, sys
import airflow.sdk
from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, Param, SkipMixin, TaskGroup, conf
from airflow.serialization.serialized_objects import DagSerialization

before = set(sys.modules)
seen = []
watched = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.system", "os.exec",
           "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen", "socket.connect",
           "sqlite3.connect", "glob.glob")
active = True

def watch(event, arguments):
    if active and event in watched:
        seen.append([event, str(arguments[0]) if arguments else "", str(arguments[1]) if len(arguments) > 1 else ""])

sys.addaudithook(watch)
import caf_definitions

active = False
new = sorted(set(sys.modules) - before)

def parse():
    del sys.modules["caf_definitions"]
    import caf_definitions

    # Airflow goes through sets of field names of its own: the order of keys is not ours, all else is.
    return json.dumps(DagSerialization.to_dict(caf_definitions.demo_calibration), sort_keys=True)

print(json.dumps({"seen": seen, "new": new, "dags": [parse(), parse()]}))
"""


@pytest.fixture(scope="module")
def answers() -> list[dict[str, Any]]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TOP / "dags"), str(TOP)]),
        "PYTHONWARNINGS": "ignore",
        # Who is the first to import a module writes it down compiled, which is Python's doing.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env={**environment, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    answers = []
    for child in children:
        output, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
        answers.append(json.loads(output.splitlines()[-1]))
    return answers


def test_parsing_twice_gives_the_same_text(answers: list[dict[str, Any]]) -> None:
    first, second = answers[0]["dags"]
    assert json.loads(first)["dag"]["dag_id"] == "demo_calibration"
    assert first == second


def test_another_process_with_another_hash_seed_gives_the_same_text(answers: list[dict[str, Any]]) -> None:
    assert answers[0]["dags"] == answers[1]["dags"]


def test_parsing_loads_nothing_heavy(answers: list[dict[str, Any]]) -> None:
    """What `airflow.sdk` itself loads is not ours to change; nothing of this comes on top."""
    loaded = {name.partition(".")[0] for name in answers[0]["new"]}
    assert {"caf_definitions", "airflow_provider_caf"} <= loaded
    assert loaded & {"ROOT", "cppyy", "basf2", "sqlalchemy", "numpy", "matplotlib", "rich", "demo_calibrators"} == set()


def test_parsing_starts_no_process_and_connects_to_nothing(answers: list[dict[str, Any]]) -> None:
    calm = {"open", "os.listdir", "os.scandir"}
    assert [event for event in answers[0]["seen"] if event[0] not in calm] == []


def is_code(path: str) -> bool:
    """Tell whether a path lies where Python's, the installed and our own modules are."""
    python = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return any(Path(path).is_relative_to(folder) for folder in (*python, TOP / "dags", TOP / "airflow_provider_caf"))


def test_parsing_reads_nothing_but_python_modules_and_definitions(answers: list[dict[str, Any]]) -> None:
    strange = [
        event
        for event in answers[0]["seen"]
        if event[0] == "open" and not (is_code(event[1]) and event[1].endswith((".py", ".pyc", ".so")))
    ]
    assert [event[1] for event in strange] == [str(TOP / "dags" / "definitions" / "demo_calibration.yaml")]


def test_parsing_lists_no_folder_of_data(answers: list[dict[str, Any]]) -> None:
    listed = {event[1] for event in answers[0]["seen"] if event[0] in ("os.listdir", "os.scandir")}
    # The import system lists the folders in which it looks for modules.
    assert [folder for folder in listed if not is_code(folder)] == []
