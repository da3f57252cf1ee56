"""The merge of objects: each is read once, what ROOT's own merger does is done, and no loss is too small to be told."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect import merge as merging
from airflow_provider_caf.worker.collect.merge import merge_files
from airflow_provider_caf.worker.collect.merge_objects import ObjectMerger, list_keys
from airflow_provider_caf.worker.collect.signature import FileTally, Tally
from airflow_provider_caf.worker.root import load_root, open_root_file
from tests.unit.worker.object_pairs import make_histogram
from tests.unit.worker.test_signature import ONE, merge, write_output, write_tree

# PyROOT makes Python's warnings of ROOT's.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::RuntimeWarning")]


def write(path: Path, *items: tuple[str, Any], compression: int = 101) -> str:
    """Write objects, each under a key with its folder, in their order."""
    root = load_root()
    file = root.TFile.Open(str(path), "RECREATE", "", compression)
    for key, item in items:
        folder, _, name = key.rpartition("/")
        directory = file.mkdir(folder, "title", True) if folder else file
        directory.WriteTObject(item, name)
    file.Close()
    root.gROOT.cd()
    return str(path)


def merge_plainly(output: Path, *inputs: str) -> Any:
    """Merge files and open the result."""
    merge_files(inputs, str(output), str(output), ObjectMerger(FileTally()))
    return open_root_file(str(output))


def make_plane(seed: int, kind: str = "TH2D", scale: float = 1.0) -> Any:
    """Make a histogram whose bins cannot be compressed, from 0 to some number."""
    item = getattr(load_root(), kind)("o", "", 100, 0, 1, 100, 0, 1)
    item.SetDirectory(load_root().nullptr)
    random = load_root().TRandom3(seed)
    for number in range(item.GetNcells()):
        item.SetBinContent(number, scale * random.Uniform())
    item.SetEntries(1000)
    return item


def test_no_object_is_read_twice(tmp_path: Path) -> None:
    inputs = [write_output(tmp_path / f"{at}.root", {f"o_1.{run}": make_plane(run) for run in (1, 2)}) for at in (1, 2)]
    size = sum(Path(path).stat().st_size for path in inputs)
    file = load_root().TFile
    before = file.GetFileBytesRead()
    merge(tmp_path, inputs).close()
    assert size * 0.8 < file.GetFileBytesRead() - before < size * 1.2


def test_what_cannot_be_merged_is_copied_with_its_cycles(tmp_path: Path, root: Any) -> None:
    files = [write(tmp_path / f"{at}.root", *[("a/o", root.TNamed("o", f"{at}{n}")) for n in "xy"]) for at in (1, 2)]
    file = merge_plainly(tmp_path / "m.root", *files)
    assert [file.Get(f"a/o;{cycle}").GetTitle() for cycle in (1, 2, 3, 4)] == ["1x", "1y", "2x", "2y"]
    assert file.Get("a/o").GetTitle() == "2y"
    assert list_keys(file)["a/o"].cycles == 4
    file.Close()


def test_folders_and_order_are_those_of_the_files(tmp_path: Path, root: Any) -> None:
    one, two = make_histogram("TH1D", 1), make_histogram("TH1D", 2, 3)
    files = [
        write(tmp_path / "1.root", ("b/x/one", one), ("a/one", one)),
        write(tmp_path / "2.root", ("a/one", two), ("c/two", two), ("b/x/two", two)),
    ]
    file = merge_plainly(tmp_path / "m.root", *files)
    keys = list_keys(file)
    assert list(keys) == ["b", "b/x", "b/x/one", "b/x/two", "a", "a/one", "c", "c/two"]
    assert keys["c"].title == "title"
    found = {place: file.Get(place).GetEntries() for place, key in keys.items() if key.kind == "added"}
    assert found == {"b/x/one": 1, "b/x/two": 2, "a/one": 3, "c/two": 2}
    file.Close()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (lambda: load_root().TNamed("o", ""), lambda: make_histogram("TH1D"), r"TNamed in .*1\.root, but TH1D in .*2"),
        (lambda: make_histogram("TH1D"), lambda: load_root().TNamed("o", ""), r"TH1D in .*1\.root, but TNamed in .*2"),
        (lambda: make_histogram("TH1D"), lambda: make_histogram("TH1F"), r"TH1D in .*1\.root, but TH1F in .*2"),
    ],
)
def test_one_name_has_one_class(
    first: Callable[[], Any], second: Callable[[], Any], expected: str, tmp_path: Path
) -> None:
    files = [write(tmp_path / f"{at}.root", ("a/o", make())) for at, make in enumerate((first, second), 1)]
    with pytest.raises(InputError, match=f"'a/o' cannot be merged: class is {expected}"):
        merge_plainly(tmp_path / "m.root", *files)


def test_a_folder_is_no_object(tmp_path: Path) -> None:
    one = make_histogram("TH1D")
    files = [write(tmp_path / "1.root", ("a/o/x", one)), write(tmp_path / "2.root", ("a/o", one))]
    with pytest.raises(InputError, match=r"'a/o' cannot be merged: class is TDirectoryFile in .*1\.root, but TH1D in"):
        merge_plainly(tmp_path / "m.root", *files)


def test_an_rntuple_is_refused(tmp_path: Path, root: Any) -> None:
    if not hasattr(root, "RNTupleWriter"):
        pytest.skip("this ROOT knows no RNTuple")
    path = str(tmp_path / "a.root")
    writer = root.RNTupleWriter.Recreate(root.RNTupleModel.Create(), "events", path)
    del writer
    with pytest.raises(InputError, match=r"'events' in .*a\.root cannot be merged: it is a ROOT::.*RNTuple"):
        merge_plainly(tmp_path / "m.root", path)


@pytest.mark.parametrize("name", ["x/y", "x\ty", "x\x1ey"])
def test_an_object_that_no_path_finds_is_refused(name: str, tmp_path: Path, root: Any) -> None:
    path = str(tmp_path / "a.root")
    file = root.TFile.Open(path, "RECREATE")
    file.WriteTObject(make_histogram("TH1D", 1), name)
    file.Close()
    with pytest.raises(InputError, match=r"a\.root cannot be merged: its name is no name of a file"):
        merge_plainly(tmp_path / "m.root", path)


def test_an_object_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    good, bad = (write(tmp_path / f"{at}.root", ("a/o", make_plane(at))) for at in (1, 2))
    file = open_root_file(bad)
    key = file.Get("a").GetKey("o")
    start, length = key.GetSeekKey() + key.GetKeylen(), key.GetNbytes() - key.GetKeylen()
    file.Close()
    data = bytearray(Path(bad).read_bytes())
    data[start : start + length] = bytes(length)
    Path(bad).write_bytes(data)
    with pytest.raises(InputError, match=r"object 'a/o', a TH2D, in the collector output .*2\.root cannot be read"):
        merge_plainly(tmp_path / "m.root", good, bad)


def test_trees_of_files_of_different_compression_are_merged(tmp_path: Path) -> None:
    inputs = [write_tree(tmp_path / f"{at}.root", ONE) for at in (1, 2)]
    other = str(tmp_path / "other.root")
    root = load_root()
    file = root.TFile.Open(other, "RECREATE", "", 207)
    file.Close()
    merge_files(inputs[1:], other, other, ObjectMerger(FileTally()))
    data = merge(tmp_path, [inputs[0], other])
    assert [row.a for row in data.get("o", [ExpRun(1, 1)])] == [1.0, 2.0, 3.0] * 2
    data.close()


def test_more_files_than_can_be_open_are_more_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "GROUP_SIZE", 2)
    monkeypatch.setattr(merging, "GROUPS", 2)
    monkeypatch.setattr(merging, "OPEN_FILES", 3)
    inputs = [write_output(tmp_path / f"{at}.root", {"o_1.1": make_histogram("TH1D", at)}) for at in range(10)]
    opened: list[int] = []
    merge_group = merging.merge_group

    def count(group: list[str], *others: Any) -> Any:
        opened.append(len(group))
        return merge_group(group, *others)

    monkeypatch.setattr(merging, "merge_group", count)
    data = merge(tmp_path, inputs)
    assert data.get("o", [ExpRun(1, 1)]).GetEntries() == 10
    assert len(opened) == 4
    assert max(opened) <= 3
    data.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_what_cannot_be_added_is_refused_where_each_group_has_one(processes: int, tmp_path: Path) -> None:
    def make(name: str) -> str:
        item = make_histogram("TH1D", 1)
        item.SetBit(load_root().TH1.kIsAverage)
        return write_output(tmp_path / name, {"o_1.1": item})

    other = write_output(tmp_path / "other.root", {"o_1.2": make_histogram("TH1D", 1)})
    inputs = (make("first.root"), *[other] * merging.GROUP_SIZE, make("last.root"))
    request = merging.MergeRequest(
        collection="c",
        inputs=inputs,
        output=str(tmp_path / "m.root"),
        index=str(tmp_path / "m.json"),
        processes=processes,
    )
    with pytest.raises(InputError, match=r"'P/o/o_1\.1' cannot be merged: .*kIsAverage"):
        merging.merge_collection(request)


def test_objects_with_references_are_merged(tmp_path: Path, root: Any) -> None:
    def make(path: Path) -> str:
        file = root.TFile.Open(str(path), "RECREATE")
        item, histogram = root.TObjArray(), make_histogram("TH1D", 1)
        item.Add(histogram)
        reference = root.TRef(histogram)
        file.WriteTObject(item, "o")
        file.WriteTObject(reference, "r")
        file.Close()
        assert "process" in {key.kind for key in list_keys(open_root_file(str(path))).values()}
        item.Clear("nodelete")
        return str(path)

    file = merge_plainly(tmp_path / "m.root", *[make(tmp_path / f"{at}.root") for at in (1, 2)])
    assert file.Get("o").At(0).GetEntries() == 2
    file.Close()


# ---- what is told from rounding


def add(items: list[Any], change: Callable[[Any], object] = lambda item: None) -> None:
    """Add histograms up, change the sum, and check it."""
    tally, total = Tally("object 'x'"), items[0].Clone()
    for number, item in enumerate(items):
        tally.add(item, f"file {number}")
    for item in items[1:]:
        total.Add(item)
    change(total)
    tally.check(total)


def move(item: Any, source: int, target: int) -> None:
    """Move one count from a bin to another."""
    item.AddBinContent(source, -1.0)
    item.AddBinContent(target, 1.0)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["TH2D", "TH2F"]),
    seeds=st.lists(st.integers(1, 1000), min_size=1, max_size=5),
    scales=st.lists(st.sampled_from([1e-9, 0.3, -1.7, 1.0, 1e12]), min_size=5, max_size=5),
)
def test_weights_of_any_size_add_up(kind: str, seeds: list[int], scales: list[float]) -> None:
    add([make_plane(seed, kind, scale) for seed, scale in zip(seeds, scales, strict=False)])


@pytest.mark.parametrize("kind", ["TH1D", "TH1F", "TH1I", "TH2D", "TH2F", "TH3F"])
def test_one_count_of_a_million_is_missed_wherever_it_was(kind: str) -> None:
    root = load_root()
    axes = int(kind[2])
    item = getattr(root, kind)("o", "", *((9, 0.0, 9.0) * axes))
    item.SetDirectory(root.nullptr)
    cells = item.GetNcells()
    for bin_ in range(cells):
        item.SetBinContent(bin_, 1e6 // cells)
    item.SetEntries(1e6)
    add([item, item])
    for bin_ in (0, 1, 5, cells - 2, cells - 1):
        with pytest.raises(InputError, match="lost content"):
            add([item, item], lambda total, at=bin_: total.AddBinContent(at, -1.0))  # type: ignore[misc]
        with pytest.raises(InputError, match="moment of the bins"):
            add([item, item], lambda total, at=bin_: move(total, at, (at + 1) % cells))  # type: ignore[misc]


@pytest.mark.parametrize("axes", [2, 5, 20])
@pytest.mark.parametrize("kind", ["THnSparseD", "THnSparseF", "THnSparseI"])
def test_bins_of_sparse_histograms_keep_their_content(kind: str, axes: int) -> None:
    def make(order: list[int]) -> Any:
        sizes = array("i", [9] * axes), array("d", [0.0] * axes), array("d", [9.0] * axes)
        item = getattr(load_root(), kind)("o", "", axes, *sizes)
        for number in order:
            item.Fill(array("d", [(number * (axis + 1)) % 9 + 0.5 for axis in range(axes)]))
        return item

    items = [make(list(range(9))), make([7, 7, 3, 1])]
    add(items)
    for source, target in ((1, 2), (8, 3)):
        with pytest.raises(InputError, match="moment of the bins"):
            add(items, lambda total, at=source, to=target: move(total, at, to))  # type: ignore[misc]


def test_an_error_of_root_in_a_merge_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.root", ("a/o", make_histogram("TH1D", 1)))
    real = ObjectMerger.write

    def fail(self: ObjectMerger, output: Any, *, fast: bool) -> None:
        real(self, output, fast=fast)
        load_root().gROOT.Error("Merge", "something went wrong")

    monkeypatch.setattr(ObjectMerger, "write", fail)
    with pytest.raises(CafError, match=r"ROOT says: .*something went wrong"):
        merge_plainly(tmp_path / "m.root", path)
