"""Reading collected data through the index: only the asked runs, each file opened once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect import collected as module
from airflow_provider_caf.worker.collect.collected import CollectedData, read_index
from airflow_provider_caf.worker.collect.collector import Collector, run_collector
from airflow_provider_caf.worker.root import open_root_file

RUNS = (ExpRun(1, 1), ExpRun(1, 2), ExpRun(1, 3), ExpRun(2, 1))


def read_tree(tree: Any) -> list[float]:
    return [tree.x for entry in range(tree.GetEntries()) if tree.GetEntry(entry)]


def test_runs_names_and_granularity(index: str) -> None:
    data = CollectedData([index])
    assert data.runs == RUNS
    assert data.prefixes == ("Hits",)
    assert data.list_names() == ("hits", "x")
    assert data.granularity == "run"
    assert [data.count_events(run) for run in RUNS] == [2, 3, 2, 2]


@pytest.mark.parametrize(
    ("runs", "entries", "values"),
    [
        (RUNS[:1], 2, [10.0, 11.0]),
        (RUNS[1:3], 5, [20.0, 21.0, 22.0, 30.0, 31.0]),
        (RUNS[2:], 4, [30.0, 31.0, 40.0, 41.0]),
        ((RUNS[2], RUNS[0], RUNS[0]), 4, [10.0, 11.0, 30.0, 31.0]),
    ],
)
def test_only_the_asked_runs_are_merged(index: str, runs: Any, entries: int, values: list[float]) -> None:
    data = CollectedData([index])
    histogram = data.get("x", runs)
    assert (histogram.GetEntries(), histogram.GetName()) == (entries, "x")
    tree = data.get("hits", runs)
    assert (read_tree(tree), tree.GetName()) == (values, "hits")


def test_objects_are_fresh_at_each_call(index: str) -> None:
    data = CollectedData([index])
    first = data.get("x", RUNS[:2])
    first.Reset()
    assert data.get("x", RUNS[:2]).GetEntries() == 5


@pytest.mark.parametrize("runs", [RUNS[:1], RUNS])
def test_a_tree_that_is_kept_too_long_is_null(index: str, runs: Any) -> None:
    data = CollectedData([index])
    tree = data.get("hits", runs)
    data.release()
    assert not tree
    with pytest.raises((ReferenceError, TypeError), match="null-pointer"):
        tree.GetEntries()


def test_large_trees_are_merged_into_a_scratch_file(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MEMORY_LIMIT", 0)
    data = CollectedData([index], scratch=str(tmp_path))
    tree = data.get("hits", RUNS)
    assert list(tmp_path.iterdir()) == []  # it has no name any more
    assert len(read_tree(tree)) == 9
    data.close()


def test_each_file_is_opened_once(index: str, other_index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def open_and_note(path: str, what: str) -> Any:
        opened.append(path)
        return open_root_file(path, what)

    monkeypatch.setattr(module, "open_root_file", open_and_note)
    data = CollectedData([index, other_index])
    for run in RUNS * 5:
        data.get("x", [run])
        data.get("hits", RUNS)
        data.release()
    assert len(opened) == 1  # the other file was never needed
    data.get("profile", RUNS[:1])
    assert len(set(opened)) == len(opened) == 2
    data.close()


def test_two_collections_of_one_prefix_are_one(index: str, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(Path(index).parent, folder)
    data = CollectedData([index, str(folder / "default.index.json")], "Hits")
    assert data.get("x", RUNS[:1]).GetEntries() == 4
    assert data.runs == RUNS


def test_the_prefix_is_found_by_the_name(index: str, other_index: str) -> None:
    data = CollectedData([index, other_index])
    assert data.prefixes == ("Hits", "Other")
    assert data.get("profile", RUNS[:1]).GetEntries() == 1
    assert CollectedData([index, other_index], "Other").runs == RUNS[:1]
    assert CollectedData([index, other_index], "Other").get("x", RUNS[:1], "Hits").GetEntries() == 2


def test_a_name_that_several_collectors_have_needs_a_prefix(
    index: str, tmp_path: Path, make_events: Any, hit_collector: type[Collector], merge_outputs: Callable[..., str]
) -> None:
    collector = hit_collector()
    collector.prefix = "Again"
    source, output = make_events(tmp_path / "events.root", [(1, 1, 5.0)]), str(tmp_path / "output.root")
    run_collector(collector, [source], (), output)
    data = CollectedData([index, merge_outputs(tmp_path / "merged", [output])], what="algorithm 'Mean'")
    with pytest.raises(InputError) as caught:
        data.get("x", RUNS[:1])
    assert "The algorithm 'Mean' asks for the object 'x', which several collectors have: Again, Hits." in str(
        caught.value
    )
    assert data.get("x", RUNS[:1], "Again").GetEntries() == 1


def test_the_prefix_of_another_collector_is_named(index: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        CollectedData([index], "Hit", what="algorithm 'Mean'")
    assert "The algorithm 'Mean' needs what a collector with the prefix 'Hit' collects; none has it." in str(
        caught.value
    )
    assert "Did you mean 'Hits'? Known collected prefixes: Hits." in str(caught.value)


@pytest.mark.parametrize("prefix", [None, "Hits"])
def test_a_missing_object_is_named_with_those_there_are(index: str, prefix: str | None) -> None:
    with pytest.raises(InputError) as caught:
        CollectedData([index], prefix, what="algorithm 'Mean'").get("xx", RUNS)
    assert "The algorithm 'Mean' asks for the object 'xx', which was not collected." in str(caught.value)
    assert "Known collected objects: hits, x." in str(caught.value)


def test_runs_that_only_another_collection_has(index: str, other_index: str) -> None:
    with pytest.raises(InputError, match=r"'profile', which was collected for none of the runs 1\.2, 2\.1"):
        CollectedData([index, other_index]).get("profile", [RUNS[1], RUNS[3]])


def test_granularity_all_gives_its_one_object(
    tmp_path: Path, make_events: Any, hit_collector: type[Collector], index: str, merge_outputs: Callable[..., str]
) -> None:
    collector = hit_collector()
    collector.granularity = "all"
    source, output = make_events(tmp_path / "events.root", [(1, 1, 5.0), (1, 2, 6.0)]), str(tmp_path / "o.root")
    run_collector(collector, [source], (), output)
    whole = merge_outputs(tmp_path / "merged", [output, output])
    data = CollectedData([whole])
    assert (data.granularity, data.runs) == ("all", RUNS[:2])
    assert data.get("x", RUNS[:1]).GetEntries() == 4
    with pytest.raises(InputError, match="reads collections of granularity run and all"):
        CollectedData([whole, index]).granularity  # noqa: B018


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda value: value.pop("prefixes"), "cannot be read: KeyError: 'prefixes'"),
        (lambda value: value.update(version=2), "its version is 2, this program knows 1"),
        (lambda value: value["prefixes"]["Hits"].update(runs=[[1]]), "cannot be read: ValueError"),
    ],
)
def test_a_bad_index_is_refused(index: str, tmp_path: Path, change: Any, text: str) -> None:
    value = json.loads(Path(index).read_text())
    change(value)
    path = tmp_path / "bad.index.json"
    path.write_text(json.dumps(value))
    with pytest.raises(InputError) as caught:
        read_index(str(path))
    assert f"The index {path} of collected data" in str(caught.value)
    assert text in str(caught.value)


def test_a_missing_index_and_a_missing_object_ask_for_the_merge(index: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.json of collected data does not exist(.|\n)*Run the merge again"):
        read_index(str(tmp_path / "no.json"))
    folder = tmp_path / "copy"
    shutil.copytree(Path(index).parent, folder)
    changed = (folder / "default.index.json").read_text().replace("Hits/x/x_1.1", "Hits/x/x_9.9")
    (folder / "default.index.json").write_text(changed)
    with pytest.raises(InputError, match=r"has no 'Hits/x/x_9\.9', which its index names"):
        CollectedData([str(folder / "default.index.json")]).get("x", RUNS[:1])


def test_objects_that_do_not_fit_together_are_told(
    tmp_path: Path, make_events: Any, root: Any, merge_outputs: Callable[..., str]
) -> None:
    class Changing(Collector):
        def start_run(self) -> None:
            assert self.current_run is not None
            if "g" not in self._objects.names:
                self.register("g", root.TH1D("g", "", 10, 0, 1))

        def collect(self, event: Any) -> None:
            if event.run == 2:
                assert self.current_run is not None
                self._copies["g"] = self._objects.get_copies(self.current_run)["g"] = root.TH1D("g_1.2", "", 7, 0, 0.3)
            self.get("g").Fill(0.1)

    source, output = make_events(tmp_path / "e.root", [(1, 1, 0.0), (1, 2, 0.0)]), str(tmp_path / "o.root")
    run_collector(Changing(), [source], (), output)
    data = CollectedData([merge_outputs(tmp_path / "merged", [output])])
    assert data.get("g", RUNS[:1]).GetEntries() == 1
    with pytest.raises(InputError, match="The object 'g' cannot be merged: x axis bins is 10 in"):
        data.get("g", RUNS[:2])
