"""The files of `input_data.json`, as the experiment's prompt tool hands them to a script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ALWAYS, IoV
from airflow_provider_caf.worker.basf2.describe_script import find_input_data


def find(
    given: dict[str, Any], requested: IoV = ALWAYS
) -> tuple[dict[str, list[tuple[str, tuple[int, ...]]]], list[str]]:
    warnings: list[str] = []
    found = find_input_data(["raw"], given, requested, warnings)
    return {name: [(path, tuple(iov)) for path, iov in files.items()] for name, files in found.items()}, warnings


def touch(*paths: Path) -> list[str]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [str(path) for path in paths]


def test_names_and_entries_keep_their_order_and_files_of_a_folder_are_sorted_as_texts(tmp_path: Path) -> None:
    """Scripts take the first files of a run."""
    late = touch(tmp_path / "late" / "a-b" / "x.root", tmp_path / "late" / "a" / "x.root", tmp_path / "late" / "b.root")
    early = touch(tmp_path / "early" / "x.root", tmp_path / "early" / "x.txt")[:1]
    given = {"zero": [[early[0], [1, 1]]], "raw": [[str(tmp_path / "late"), [1, 2]], [str(tmp_path / "early"), [1, 1]]]}
    found, warnings = find(given)
    assert list(found) == ["zero", "raw"]
    assert found["raw"] == [*((path, (1, 2, 1, 2)) for path in late), (early[0], (1, 1, 1, 1))]
    assert found["zero"] == [(early[0], (1, 1, 1, 1))]
    assert warnings == ["The script's settings do not name the input data 'zero', which it is given all the same."]


def test_what_is_not_there_is_left_out_with_a_warning(tmp_path: Path) -> None:
    (path,) = touch(tmp_path / "a.root")
    found, warnings = find({"raw": [["/no/such/place", [1, 1]], [path, [1, 2]]], "none": []})
    assert found == {"raw": [(path, (1, 2, 1, 2))], "none": []}
    assert "The input data 'raw' names /no/such/place, which is not there. Is it mounted here?" in warnings
    assert "The input data 'none' has no files." in warnings


def test_what_lies_outside_the_requested_iov_is_left_out_with_a_warning() -> None:
    places = [[f"root://host//{exp}.{run}.root", [exp, run]] for exp, run in ((12, 1), (12, 500), (12, 600), (13, 2))]
    found, warnings = find({"raw": places}, IoV(12, 1, 12, 500))
    assert [path for path, _ in found["raw"]] == ["root://host//12.1.root", "root://host//12.500.root"]
    (warning,) = warnings
    assert warning.startswith(
        "Of the 4 files of the input data 'raw', 2 lie outside the requested IoV 12,1,12,500 and are"
    )
    assert warning.endswith("the first is root://host//12.600.root of run 12.600.")
    assert [len(find({"raw": places}, IoV(*iov))[0]["raw"]) for iov in ((12, 500, 12, -1), (12, 2, -1, -1))] == [2, 3]


def test_paths_may_be_relative_or_uris_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = touch(tmp_path / "a b.root")
    monkeypatch.chdir(tmp_path)
    for place in ("a b.root", (tmp_path / "a b.root").as_uri()):
        assert find({"raw": [[place, [1, 1]]]}) == ({"raw": [(path, (1, 1, 1, 1))]}, [])


def test_a_file_of_two_runs_is_told() -> None:
    found, warnings = find({"raw": [["root://a", [1, 1]], ["root://b", [1, 1]], ["root://a", [1, 2]]]})
    assert found == {"raw": [("root://a", (1, 2, 1, 2)), ("root://b", (1, 1, 1, 1))]}
    assert warnings == ["The input data 'raw' names root://a with two runs; the last one, 1.2, counts."]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rwa": []}, "Did you mean 'rwa'"),
        ({"raw": {}}, "'raw' is no list"),
        ({"raw": [["/x"]]}, r"there is \['/x'\]"),
        ({"raw": [["/x", [1]]]}, "An entry is"),
        ({"raw": [["/x", [-2, 1]]]}, "An entry is"),
    ],
)
def test_another_form_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        find(given)
