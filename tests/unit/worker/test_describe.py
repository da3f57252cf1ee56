"""The verb `describe`: one answer for each reference, whatever the user's modules do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.worker.__main__ import EXIT_ERROR, main

Describe = Callable[..., dict[str, Any]]


@pytest.fixture
def describe(tmp_path: Path, write_json: Callable[[str, Any], str]) -> Describe:
    def run(**lists: Any) -> dict[str, Any]:
        request, answer = write_json("refs.json", {"version": 1, **lists}), tmp_path / "answer.json"
        assert main(["describe", request, "--output", str(answer)]) == 0
        value: dict[str, Any] = json.loads(answer.read_text())
        return value

    return run


def test_collectors_algorithms_and_functions(describe: Describe, calibrators: Path) -> None:
    answer = describe(
        collectors=[
            {"reference": f"{calibrators}:HitCollector"},
            {"reference": f"{calibrators}:AllCollector", "settings": {"prefix": "Mine"}},
            {"reference": f"{calibrators}:AllCollector", "granularity": "run"},
        ],
        algorithms=[
            {"reference": f"{calibrators}:MeanAlgorithm"},
            {"reference": f"{calibrators}:BrokenAlgorithm"},
            {"reference": f"{calibrators}:MeanAlgorithm", "prefix": "Other"},
        ],
        functions=[{"reference": f"{calibrators}:choose_files"}],
    )
    seen = [(each["ok"], each["prefix"], each["granularity"]) for each in answer["collectors"]]
    assert seen == [(True, "Hits", "run"), (True, "Mine", "all"), (True, "Hits", "run")]
    assert [each["prefix"] for each in answer["algorithms"]] == ["Hits", None, "Other"]
    assert [each["finds_boundaries"] for each in answer["algorithms"]] == [True, False, True]
    assert answer["functions"] == [{"reference": f"{calibrators}:choose_files", "ok": True}]


@pytest.mark.parametrize(
    ("kind", "item", "text"),
    [
        ("collectors", {"reference": "{}:HitColector"}, "has no 'HitColector'"),
        ("collectors", {"reference": "{}:MeanAlgorithm"}, "not a subclass of Collector"),
        ("collectors", {"reference": "{}:HitCollector", "settings": {"scal": 1}}, "has no setting 'scal'"),
        ("collectors", {"reference": "{}:HitCollector", "settings": {"prefix": "a/b"}}, "cannot be the prefix"),
        ("collectors", {"reference": "{}:HitCollector", "settings": {"prescale": 2}}, "The prescale of"),
        ("collectors", {"reference": "no_module:A"}, "there is no module 'no_module'. Searched in:"),
        ("collectors", {}, "cannot be described: KeyError"),
        ("algorithms", {"reference": "{}:HitCollector"}, "not a subclass of Algorithm"),
        ("algorithms", {"reference": "{}:MeanAlgorithm", "settings": {"runs": []}}, "has no setting 'runs'"),
        ("algorithms", {"reference": "{}:MeanAlgorithm", "prefix": "a b"}, "'a b' cannot be the prefix"),
        ("functions", {"reference": "{}:no_function"}, "is not a function"),
    ],
)
def test_each_mistake_is_an_answer(
    describe: Describe, calibrators: Path, kind: str, item: dict[str, Any], text: str
) -> None:
    if "reference" in item:
        item = {**item, "reference": item["reference"].format(calibrators)}
    good = {"reference": f"{calibrators}:HitCollector"}
    request = {kind: [item]} if kind != "collectors" else {kind: [item, good]}
    answers = describe(**request)[kind]
    assert answers[0]["ok"] is False
    assert text in answers[0]["error"]
    assert all(answer["ok"] for answer in answers[1:])


def test_prints_of_a_module_do_not_come_between(
    tmp_path: Path, write_json: Callable[[str, Any], str], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loud.py").write_text(
        "import os\nfrom airflow_provider_caf.worker import Collector\nprint('hello')\nos.write(1, b'raw')\n"
        "class Loud(Collector):\n    def collect(self, event): pass\n"
    )
    request = write_json("refs.json", {"version": 1, "collectors": [{"reference": f"{tmp_path}/loud.py:Loud"}]})
    read_end, write_end = os.pipe()
    assert main(["describe", request, "--out-fd", str(write_end)]) == 0
    with os.fdopen(read_end) as stream:
        assert json.loads(stream.read())["collectors"][0]["prefix"] == "Loud"
    assert "hello" in capfd.readouterr().out


def test_a_missing_request_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "no.json")
    assert main(["describe", missing, "--output", str(tmp_path / "a")]) == EXIT_ERROR
    assert f"The list of references {missing} cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
