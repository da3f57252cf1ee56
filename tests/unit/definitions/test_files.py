"""Definitions in files: all mistakes at once, each with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.files import find_way, list_definition_files, load_definitions, read_definition

GOOD = """
name: demo
calibrations:
  - name: first
    collector: hits:C
    input_files: [/data/*.root]
    algorithms: [hits:A]
"""

BAD = """\
name: demo
bakend: local
calibrations:
  - name: first
    colector: hits:C
    algorithms: [hits:A]
  - name: second
    collector: hits:C
    input_files: [/data/*.root]
    algorithms:
      - algorithm: hits:A
        strategy: SingelIOV
    depends_on: [first, thrid]
  - name: third
    collections:
      one:
        collector: hits:C
        input_files: [relative.root]
    algorithms: [hits:A]
  - name: fourth
    collector: hits:C
    input_files: [/data/*.root]
    max_collector_jobs: 2
    max_files_per_collector_job: 2
    algorithms: [hits:A]
"""


def write(folder: Path, text: str, name: str = "demo.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_a_good_definition(tmp_path: Path) -> None:
    caf = read_definition(write(tmp_path, GOOD))
    assert caf.name == "demo"
    (calibration,) = caf.resolve().calibrations
    assert calibration.name == "first"


def test_all_mistakes_are_said_at_once_with_their_lines(tmp_path: Path) -> None:
    file = write(tmp_path, BAD)
    with pytest.raises(DefinitionError) as caught:
        read_definition(file)
    assert [(each.line, each.what.split(":")[0].rstrip(".")) for each in caught.value.causes] == [
        (2, "CAF 'demo' has an unknown word 'bakend'"),
        (5, "Calibration 'first' has an unknown word 'colector'"),
        (12, "In algorithm 'A' of calibration 'second'"),
        (18, "In input_files of collection 'one' of calibration 'third'"),
        (20, "In collection 'default' of calibration 'fourth'"),
    ]
    text = str(caught.value)
    assert text.startswith(f"5 mistakes in {file}:\n{file}:2: CAF 'demo' has an unknown word 'bakend'.")
    assert "Did you mean 'backend'?" in text
    assert "  > 5 |     colector: hits:C\n      |     ^" in text


def test_mistakes_between_calibrations_are_found_beside_others(tmp_path: Path) -> None:
    text = BAD.replace("bakend: local\n", "").replace("colector", "collector").replace("[relative", "[/relative")
    with pytest.raises(DefinitionError) as caught:
        read_definition(write(tmp_path, text))
    whats = {each.line: each.what for each in caught.value.causes}
    assert "no strategy 'SingelIOV'" in whats[11]
    assert whats[12] == "Calibration 'second' depends on 'thrid', which does not exist."
    assert "first" in whats[3]  # it has a collector and no input
    assert "Subjobs are split by" in whats[19]


@pytest.mark.parametrize(
    ("where", "way"),
    [
        (("calibrations", 0, "collections", "default", "granularity"), ("calibrations", 0, "granularity")),
        (
            ("calibrations", 0, "collections", "more", "settings"),
            ("calibrations", 0, "collections", "more", "settings"),
        ),
        (("calibrations", 0, "algorithms", 0, "strategy"), ("calibrations", 0, "algorithms", 0, "strategy")),
        (("calibrations", 0, "algorithms", 0, "params", "x"), ("calibrations", 0, "algorithms", 0, "params")),
        ((), ()),
    ],
)
def test_the_way_from_the_record_to_what_was_written(where: tuple[Any, ...], way: tuple[Any, ...]) -> None:
    written = {
        "calibrations": [
            {
                "collector": "a:B",
                "granularity": "run",
                "collections": {"more": {"settings": {}}},
                "algorithms": [{"algorithm": "a:C", "strategy": "X"}],
            },
            {"collections": {"one": {"collector": ["argv"]}}},
        ]
    }
    assert find_way(written, where) == way


def test_python_files_give_their_global_objects(tmp_path: Path) -> None:
    text = """
from airflow_provider_caf import CAF, Calibration

def make(name):
    return CAF(name, [Calibration("first", "hits:C", "hits:A", "/data/*.root")])

one, two = make("one"), make("two")
same = one
"""
    assert [caf.name for caf in load_definitions(write(tmp_path, text, "many.py"))] == ["one", "two"]


def test_an_error_of_a_python_file_has_its_line(tmp_path: Path) -> None:
    text = "from airflow_provider_caf import Calibration\n\nx = Calibration('a', colector='hits:C')\n"
    with pytest.raises(DefinitionError, match="unknown word 'colector'") as caught:
        load_definitions(write(tmp_path, text, "wrong.py"))
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "wrong.py"), 3)
    assert "> 3 | x = Calibration" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [("none.py", "x = 1", "There is no definition in this file"), ("a.txt", "name: x", "no file of a definition")],
)
def test_files_without_a_definition(tmp_path: Path, name: str, text: str, what: str) -> None:
    with pytest.raises(DefinitionError, match=what):
        load_definitions(write(tmp_path, text, name))


CAF_X = "CAF('x', [Calibration('a', 'hits:C', 'hits:A', '/data/*.root')])"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (f"one, two = {CAF_X}, {CAF_X}", "There are two definitions named 'x'"),
        ("import sys; sys.exit(3)", "It ends Python with exit code 3"),
    ],
)
def test_a_python_file_that_would_touch_others(tmp_path: Path, body: str, what: str) -> None:
    with pytest.raises(DefinitionError, match=what):
        load_definitions(write(tmp_path, f"from airflow_provider_caf import CAF, Calibration\n{body}\n", "two.py"))


def test_a_python_file_may_change_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    text = f"import sys\nfrom airflow_provider_caf import CAF, Calibration\nsys.path.pop(0)\ncaf = {CAF_X}\n"
    assert [caf.name for caf in load_definitions(write(tmp_path, text, "path.py"))] == ["x"]


def test_calibrations_that_are_none_are_all_said_without_a_crash(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="A calibration is a mapping"):
        load_definitions(write(tmp_path, "name: x\ncalibrations: [1, 2]\n", "x.yaml"))


def test_the_definitions_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "c.json", "d.py", "e.txt", "_f.yaml", ".g.yaml", "sub/h.yaml", "__pycache__/i.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in list_definition_files(tmp_path)]
    assert found == ["a.yml", "b.yaml", "c.json", "d.py", "sub/h.yaml"]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("[{name: {}}]", ["d.yaml:1: The CAF is [{'name': {}}]"]),
        (
            "name: x\ncalibrations: [{name: {}}, 3, null]",
            ["d.yaml:2: In CAF 'x': 3 cannot stand here", "In name of calibration number 1: {} cannot stand here"],
        ),
        ("name: x\ncalibrations: [{name: a, depends_on: [{}]}, 3]", ["3 cannot stand here", "{} cannot stand here"]),
        ("name: x\ncalibrations: [{name: a, depends_on: 5}, 3]", ["3 cannot stand here"]),
    ],
)
def test_what_the_reader_refuses_is_not_looked_at_again(tmp_path: Path, text: str, messages: list[str]) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(text)
    with pytest.raises(DefinitionError) as caught:
        read_definition(file)
    for message in messages:
        assert message in str(caught.value)


@pytest.mark.parametrize("word", ["collections", "input_data", "backend", "backend_args", "connection", "algorithms"])
@pytest.mark.parametrize("value", [1, "x", {"a": 1}, ["b"], {"a": {"input_data": 3, "backend_args": 4}}])
def test_a_type_of_ones_own_has_words_of_its_own(tmp_path: Path, word: str, value: object) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(
        json.dumps({"name": "x", "backend": "slurm", "calibrations": [{"name": "a", "type": "m:Own", word: value}]})
    )
    (member,) = read_definition(file).calibrations
    assert member.to_json()[word] == value
