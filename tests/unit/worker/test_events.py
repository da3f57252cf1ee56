"""Reading events: every branch type, in any order, and what is wrong with an event file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.worker.collect.columns import NumberColumn, TreeColumn
from airflow_provider_caf.worker.collect.events import Event, EventArrays, EventFile

COUNT = 20_000
"""More than fit into a basket of 32 kB."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, make_events: Any) -> str:
    folder = tmp_path_factory.mktemp("events")
    return str(make_events(folder / "events.root", [(1, number // 5000, number / 2) for number in range(COUNT)]))


@pytest.mark.parametrize("entry", [0, 1, COUNT - 1, 7000, 3])
def test_branches_are_attributes_at_any_entry(path: str, entry: int) -> None:
    with EventFile(path, "events") as file:
        event = Event(file)
        for each in (COUNT // 2, entry):
            event._entry = each
            assert (event.exp, event.run, event.x, event.count) == (1, each // 5000, each / 2, each)
        assert event.flag is bool(entry % 2)
        assert list(event.values) == list(range(entry % 3))
        assert list(event.word) == [0.0, float(entry), 0.0]
        assert event["x"] == entry / 2


def test_all_events_in_order(path: str) -> None:
    with EventFile(path, "events") as file:
        event = Event(file)
        seen = []
        for entry in range(file.count):
            event._entry = entry
            seen.append((event.count, len(event.values)))
    assert seen == [(entry, entry % 3) for entry in range(COUNT)]


def test_numbers_are_read_in_bulk_and_the_rest_one_by_one(path: str) -> None:
    with EventFile(path, "events") as file:
        assert isinstance(file.get_column("x"), NumberColumn)
        assert isinstance(file.get_column("values"), TreeColumn)
        assert isinstance(file.get_column("word"), TreeColumn)


def test_arrays_of_chosen_events(path: str) -> None:
    with EventFile(path, "events") as file:
        stretch, some = EventArrays(file, range(100, 103)), EventArrays(file, [1, 19_999])
        assert len(stretch) == 3
        assert stretch.x.tolist() == [50.0, 50.5, 51.0]
        assert some["count"].tolist() == [1, 19_999]
        assert some.flag.dtype == np.bool_
        assert some.flag.tolist() == [True, True]
        with pytest.raises(InputError, match=r"branch 'values' .* has not one number per event"):
            stretch.values  # noqa: B018


def test_arrays_need_numpy(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with EventFile(path, "events") as file, pytest.raises(CafError, match="collect_many needs numpy, which"):
        EventArrays(file, range(3)).x  # noqa: B018


def test_a_tree_that_is_not_there_is_named_with_those_that_are(path: str) -> None:
    with pytest.raises(InputError) as caught:
        EventFile(path, "event")
    assert f"The input file {path} has no tree 'event'." in str(caught.value)
    assert "Did you mean 'events'?" in str(caught.value)


def test_an_object_that_is_no_tree_is_refused(tmp_path: Path, root: Any) -> None:
    file = root.TFile.Open(str(tmp_path / "named.root"), "RECREATE")
    file.WriteTObject(root.TNamed("events", ""))
    file.Close()
    with pytest.raises(InputError, match="has no tree 'events'"):
        EventFile(str(tmp_path / "named.root"), "events")


def test_a_branch_that_is_not_there_is_named_with_those_that_are(path: str) -> None:
    with EventFile(path, "events") as file, pytest.raises(InputError) as caught:
        Event(file).vertx  # noqa: B018
    assert f"The tree 'events' in {path} has no branch 'vertx'." in str(caught.value)
    assert "Known branches: count, exp, flag, run, values, word, x." in str(caught.value)


def test_special_attributes_are_no_branches(path: str) -> None:
    with EventFile(path, "events") as file:
        assert not hasattr(Event(file), "__array__")
        assert not hasattr(EventArrays(file, range(1)), "__array__")


# What ROOT says of the damage depends on what stood in its memory; our own error is what counts.
@pytest.mark.filterwarnings("ignore:.*trying to repair:RuntimeWarning")
@pytest.mark.parametrize("name", ["x", "values"])
def test_damage_in_the_middle_is_an_error(path: str, tmp_path: Path, name: str) -> None:
    data = bytearray(Path(path).read_bytes())
    middle = len(data) // 2
    data[300:middle] = bytes(middle - 300)
    damaged = tmp_path / "damaged.root"
    damaged.write_bytes(data)
    with EventFile(str(damaged), "events") as file:
        column = file.get_column(name)
        with pytest.raises(InputError, match=rf"branch '{name}' of tree 'events' in .* the file is damaged"):
            list(map(column.read, range(file.count)))


def test_an_empty_tree_has_no_events(tmp_path: Path, make_events: Any) -> None:
    with EventFile(make_events(tmp_path / "empty.root", []), "events") as file:
        assert file.count == 0
        assert len(file.get_column("x").read_range(0, 0)) == 0
