"""The values of payloads, for lists and plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.payloads import build_payload_file_name
from airflow_provider_caf.worker.__main__ import main
from airflow_provider_caf.worker.constants import save_payload
from airflow_provider_caf.worker.root import load_root

pytestmark = pytest.mark.slow


@pytest.fixture
def ask(tmp_path: Path) -> Any:
    def run(*payloads: tuple[str, Path]) -> dict[str, Any]:
        request, output = tmp_path / "request.json", tmp_path / "answer.json"
        given = [{"name": name, "file": str(file)} for name, file in payloads]
        request.write_text(json.dumps({"version": 1, "payloads": given}))
        assert main(["values", str(request), "--output", str(output)]) == 0
        answer: dict[str, Any] = json.loads(output.read_text())
        return answer

    return run


def save(folder: Path, name: str, value: Any) -> tuple[str, Path]:
    revision, _ = save_payload(value, name, folder)
    return name, folder / build_payload_file_name(name, revision)


def test_small_json_is_given(tmp_path: Path, ask: Any) -> None:
    spot = save(tmp_path, "Spot", {"value": 1.5, "error": 0.1})
    gain = save(tmp_path, "Gain", 2.0)
    answer = ask(spot, gain, spot)
    assert answer == {
        "version": 1,
        "values": [{"value": 1.5, "error": 0.1}, 2.0, {"value": 1.5, "error": 0.1}],
        "faults": [],
    }


def test_objects_and_large_values_are_not(tmp_path: Path, ask: Any) -> None:
    histogram = save(tmp_path, "Shape", load_root().TH1D("h", "", 3, 0, 3))
    large = save(tmp_path, "Many", list(range(5000)))
    assert ask(histogram, large) == {"version": 1, "values": [None, None], "faults": []}


def test_what_cannot_be_read_is_told(tmp_path: Path, ask: Any) -> None:
    broken = tmp_path / "broken.root"
    broken.write_bytes(b"no payload")
    good = save(tmp_path, "Spot", 1.0)
    answer = ask(("Bad", broken), good)
    assert answer["values"] == [None, 1.0]
    assert len(answer["faults"]) == 1
    assert "broken.root" in answer["faults"][0]
