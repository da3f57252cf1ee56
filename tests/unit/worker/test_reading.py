"""What a collector reads is what plain ROOT gives: random trees, in random order, value by value."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
import sysconfig
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.worker.collect.events import Event, EventArrays, EventFile

pytestmark = pytest.mark.slow

CODES = dict(zip("BbSsIiLlGgFfDdO", "bBhHiIqQqQffddb", strict=True))
"""ROOT's letters of leaf types, and those of `array`."""

COMPRESSIONS = (0, 101, 207, 404, 505)
"""None, zlib, lzma, lz4, zstd."""

FRIENDS = ("none", "beside", "indexed", "other file")


def number_of(code: str, entry: int) -> Any:
    """Give the number of an event: all bits are used, and floats are exact in 32 bits, and in the 12 of Float16_t."""
    if code == "O":
        return entry % 3 == 1
    if code in "FfDd":
        return (entry % 64) / 4
    return (entry * 37 + 5) % {"B": 128, "b": 256}.get(code, 30_000) * (-1 if code in "SILG" and entry % 2 else 1)


@dataclass(frozen=True)
class Shape:
    """How a file is made."""

    codes: str
    count: int
    basket: int
    flush: int
    compression: int
    friend: str
    folder: str


SHAPES = st.builds(
    Shape,
    codes=st.lists(st.sampled_from(list(CODES)), min_size=1, max_size=4, unique=True).map("".join),
    count=st.integers(0, 90),
    basket=st.sampled_from((64, 100, 1000, 32_000)),
    flush=st.sampled_from((0, 7, -300, -30_000_000)),
    compression=st.sampled_from(COMPRESSIONS),
    friend=st.sampled_from(FRIENDS),
    folder=st.sampled_from(("", "deep/er")),
)


class Writer:
    """The tree of a shape, with a branch of each kind."""

    def __init__(self, root: Any, shape: Shape) -> None:
        self.shape = shape
        self.tree = root.TTree("events", "")
        self.tree.SetAutoFlush(shape.flush)
        self.cells = {code: array(CODES[code], [0]) for code in shape.codes}
        for code, cell in self.cells.items():
            self.tree.Branch(f"v{code}", cell, f"v{code}/{code}", shape.basket)
        self.n, self.x, self.w = array("i", [0]), array("f", [0.0] * 8), array("h", [0] * 8)
        self.pair, self.text = bytearray(8), array("b", bytes(16))
        self.hits, self.word = root.std.vector("float")(), root.std.string()
        self.deep = root.std.vector("std::vector<int>")()
        leaves: tuple[tuple[str, Any, str], ...] = (
            ("n", self.n, "n/I"),
            ("x", self.x, "x[n]/F"),
            ("xs", self.w, "xs[n][2]/S"),
            ("w", self.w, "w[2][3]/S"),
            ("pair", self.pair, "a/I:b/F"),
            ("text", self.text, "text/C"),
        )
        for name, cell, leaf in leaves:
            self.tree.Branch(name, cell, leaf, shape.basket)
        for name, item in (("hits", self.hits), ("word", self.word), ("deep", self.deep), ("dot.ted", self.hits)):
            self.tree.Branch(name, item, shape.basket)
        self.tree.SetAlias("other", "n")

    def fill(self, entry: int) -> None:
        for code, cell in self.cells.items():
            cell[0] = number_of(code, entry)
        self.n[0] = entry % 4
        for at in range(self.n[0]):
            self.x[at] = entry + at / 4
        for at in range(8):
            self.w[at] = entry * 6 + at
        self.pair[:] = struct.pack("if", entry, entry / 2)
        self.text[:] = array("b", f"t{entry}".encode().ljust(16, b"\0"))
        self.hits.assign([float(at) for at in range(entry % 3)])
        self.word.assign(f"event {entry}")
        self.deep.clear()
        for at in range(entry % 3):
            self.deep.push_back([entry] * at)
        self.tree.Fill()

    @property
    def columns(self) -> list[str]:
        names = [f"v{code}" for code in self.cells]
        names += ["n", "x", "xs", "w", "a", "b", "text", "hits", "word", "deep", "dot.ted", "other"]
        return names + (["extra.value", "value", "tail"] if self.shape.friend != "none" else [])


def add_friend(root: Any, writer: Writer, file: Any, folder: Path) -> None:
    shape = writer.shape
    where = file if shape.friend != "other file" else root.TFile.Open(str(folder / "friend.root"), "RECREATE")
    where.cd()
    extra = root.TTree("extra", "")
    key, value, length, tail = array("i", [0]), array("d", [0.0]), array("i", [0]), array("i", [0] * 3)
    for name, cell, leaf in (("a", key, "a/I"), ("value", value, "value/D"), ("m", length, "m/I")):
        extra.Branch(name, cell, leaf, 64)
    extra.Branch("tail", tail, "tail[m]/I", 64)
    order = sorted(range(shape.count), key=lambda at: at * 31 % 97) if shape.friend == "indexed" else range(shape.count)
    for at in order:
        key[0], value[0], length[0] = at, 1000 + at, at % 3
        for each in range(3):
            tail[each] = at + each
        extra.Fill()
    if shape.friend == "indexed":
        extra.BuildIndex("a")
    extra.Write()
    if shape.friend == "other file":
        where.Close()
        writer.tree.AddFriend("extra", str(folder / "friend.root"))
    else:
        writer.tree.AddFriend(extra)
        writer.extra = extra  # type: ignore[attr-defined]


def write_shape(root: Any, folder: Path, shape: Shape) -> tuple[str, str, list[str]]:
    """Write a file and give its path, the tree's and the columns."""
    path = str(folder / "random.root")
    file = root.TFile.Open(path, "RECREATE", "", shape.compression)
    place = file.mkdir(shape.folder, "", True) if shape.folder else file
    place.cd()
    writer = Writer(root, shape)
    for entry in range(shape.count):
        writer.fill(entry)
    if shape.friend != "none":
        add_friend(root, writer, file, folder)
    place.cd()
    writer.tree.Write()
    columns = writer.columns
    file.Close()
    root.gROOT.cd()
    return path, f"{shape.folder}/events" if shape.folder else "events", columns


def show(value: Any) -> Any:
    """Give what can be compared, and does not change with the next event."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if "string" in type(value).__name__:
        return str(value)
    if type(value).__name__ == "LowLevelView" and value.format in ("c", "b", "B"):
        # The text of a leaf ends with a zero; what comes after it is anything.
        return "".join(iter(iter(value).__next__, "\0"))
    return [show(each) for each in value]


def read_plainly(root: Any, path: str, tree: str, columns: list[str]) -> list[dict[str, Any]]:
    file = root.TFile.Open(path)
    # PyROOT of ROOT 6.40 aborts at x[n][2].
    names = [name for name in columns if name != "xs"]
    rows = [{name: show(getattr(event, name)) for name in names} for event in file.Get(tree)]
    for entry, row in enumerate(rows):
        row["xs"] = [[entry * 6 + 2 * at, entry * 6 + 2 * at + 1] for at in range(entry % 4)]
    file.Close()
    root.gROOT.cd()
    return rows


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=SHAPES, data=st.data())
def test_any_tree_in_any_order_is_what_plain_root_gives(tmp_path: Path, root: Any, shape: Shape, data: Any) -> None:
    path, tree, columns = write_shape(root, tmp_path, shape)
    plain = read_plainly(root, path, tree, columns)
    assert len(plain) == shape.count
    with EventFile(path, tree) as file:
        assert file.count == shape.count
        if not shape.count:
            return
        event = Event(file)
        steps = st.tuples(st.integers(0, shape.count - 1), st.lists(st.sampled_from(columns), min_size=1, max_size=6))
        for entry, names in data.draw(st.lists(steps, min_size=1, max_size=12)):
            event._entry = entry
            # All values of an event are held together, as a collector does.
            held = [(name, event[name]) for name in names]
            assert [(name, show(value)) for name, value in held] == [(name, plain[entry][name]) for name in names]
        chosen = sorted(data.draw(st.sets(st.integers(0, shape.count - 1), min_size=1)))
        some, whole = EventArrays(file, chosen), EventArrays(file, range(shape.count))
        for name in columns:
            if isinstance(plain[0][name], (list, str)) and name[:2] not in ("vB", "vb"):
                continue
            expected = [ord(row[name]) if isinstance(row[name], str) else row[name] for row in plain]
            assert whole[name].tolist() == expected
            assert some[name].tolist() == [expected[entry] for entry in chosen]


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_ends_of_each_type(root: Any, tmp_path: Path, code: str) -> None:
    kind = CODES[code]
    if kind in "fd":
        values: list[Any] = [0.0, -1.5, 2.0**100, math.inf, -math.inf] if code in "FD" else [0.0, -1.5]
    elif code == "O":
        values = [False, True]
    else:
        bits = 8 * array(kind).itemsize
        values = [0, 1, 2**bits - 1] if kind.isupper() else [0, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
    file = root.TFile.Open(str(tmp_path / "ends.root"), "RECREATE")
    tree, cell = root.TTree("events", ""), array(kind, [0])
    tree.Branch("v", cell, f"v/{code}")
    for value in values:
        cell[0] = value
        tree.Fill()
    tree.Write()
    file.Close()
    with EventFile(str(tmp_path / "ends.root"), "events") as events:
        column = events.get_column("v")
        found = [column.read(entry) for entry in range(len(values))]
        assert found == ([chr(value & 0xFF) for value in values] if code in "Bb" else values)
        assert {type(each) for each in found} == {type(values[0]) if code not in "Bb" else str}
        numbers = EventArrays(events, range(len(values))).v
        assert numbers.tolist() == values
        assert numbers.dtype == np.dtype("?" if code == "O" else kind)


def make_numbers(root: Any, path: Path, count: int, first: int = 0, tree: str = "events") -> str:
    """Write a tree of exp, run and x = the number of the event."""
    file = root.TFile.Open(str(path), "RECREATE")
    events, cells = root.TTree(tree, ""), {name: array("i", [1]) for name in ("exp", "run", "x")}
    for name, cell in cells.items():
        events.Branch(name, cell, f"{name}/I", 64)
    for cells["x"][0] in range(first, first + count):
        events.Fill()
    events.Write()
    file.Close()
    root.gROOT.cd()
    return str(path)


def test_a_basket_without_entries_is_left_out(root: Any, tmp_path: Path) -> None:
    """uproot writes one where a chunk was empty; here its place in the branch is made by hand."""
    root.gInterpreter.Declare("""
    #include <TBranch.h>
    #include <TTree.h>
    struct EmptyBasketMaker : TBranch {
      static void make(TTree *tree) {
        for (auto *item : *tree->GetListOfBranches()) {
          auto *branch = static_cast<TBranch *>(item);
          branch->FlushBaskets();
          const int last = branch->*(&EmptyBasketMaker::fWriteBasket);
          (branch->*(&EmptyBasketMaker::fBasketEntry))[last + 1] = (branch->*(&EmptyBasketMaker::fBasketEntry))[last];
          (branch->*(&EmptyBasketMaker::fBasketSeek))[last] = (branch->*(&EmptyBasketMaker::fBasketSeek))[last - 1];
          (branch->*(&EmptyBasketMaker::fBasketBytes))[last] = (branch->*(&EmptyBasketMaker::fBasketBytes))[last - 1];
          ++(branch->*(&EmptyBasketMaker::fWriteBasket));
        }
      }
    };""")
    path = str(tmp_path / "chunks.root")
    file = root.TFile.Open(path, "RECREATE")
    tree, x, n, values = root.TTree("events", ""), array("i", [0]), array("i", [0]), array("f", [0.0] * 4)
    tree.Branch("x", x, "x/I")
    tree.Branch("n", n, "n/I")
    tree.Branch("values", values, "values[n]/F")
    for entry in range(6):
        x[0], n[0] = entry + 10, 1 + entry % 3
        values[0] = entry
        tree.Fill()
        if entry in (1, 3):
            root.EmptyBasketMaker.make(tree)
    tree.Write()
    file.Close()
    with EventFile(path, "events") as events:
        assert [events.get_column("values").read(entry)[0] for entry in range(6)] == list(range(6))
        assert [events.get_column("x").read(entry) for entry in (2, 4, 0, 5, 1, 3)] == [12, 14, 10, 15, 11, 13]
        assert EventArrays(events, range(6)).n.tolist() == [1, 2, 3, 1, 2, 3]


def test_a_chain_in_a_file(root: Any, tmp_path: Path) -> None:
    paths = [make_numbers(root, tmp_path / f"{number}.root", 5, 5 * number) for number in range(3)]
    file = root.TFile.Open(str(tmp_path / "chain.root"), "RECREATE")
    chain = root.TChain("events")
    for path in paths:
        chain.Add(path)
    file.WriteTObject(chain, "all")
    file.Close()
    with EventFile(str(tmp_path / "chain.root"), "all") as events:
        assert [events.get_column("x").read(entry) for entry in (14, 0, 7, 5)] == [14, 0, 7, 5]
        assert EventArrays(events, [4, 5, 10]).x.tolist() == [4, 5, 10]


# ROOT says so, too, when the two are joined.
@pytest.mark.filterwarnings("ignore:.*AddFriend:RuntimeWarning", "ignore:.*less entries:RuntimeWarning")
@pytest.mark.parametrize("is_indexed", [False, True])
def test_an_event_without_its_friend_is_an_error(root: Any, tmp_path: Path, is_indexed: bool) -> None:
    make_numbers(root, tmp_path / "short.root", 3, tree="extra")
    file = root.TFile.Open(str(tmp_path / "short.root"), "UPDATE")
    if is_indexed:
        extra = file.Get("extra")
        extra.BuildIndex("x")
        extra.Write("", root.TObject.kOverwrite)
    file.Close()
    path = make_numbers(root, tmp_path / "long.root", 5)
    file = root.TFile.Open(path, "UPDATE")
    tree = file.Get("events")
    tree.AddFriend("extra", str(tmp_path / "short.root"))
    tree.Write("", root.TObject.kOverwrite)
    file.Close()
    with EventFile(path, "events") as events:
        column = events.get_column("extra.x")
        assert [column.read(entry) for entry in range(3)] == [0, 1, 2]
        assert [events.get_column("x").read(entry) for entry in range(5)] == list(range(5))
        with pytest.raises(InputError, match=r"branch 'extra.x' of tree .*long\.root has nothing for entry 3"):
            column.read(3)
        with pytest.raises(InputError, match="has nothing for entry 3"):
            column.read_range(0, 5)


def test_a_branch_with_the_name_of_a_method(root: Any, tmp_path: Path) -> None:
    file = root.TFile.Open(str(tmp_path / "names.root"), "RECREATE")
    tree, values = root.TTree("events", ""), array("i", [3, 4])
    tree.Branch("Fill", values, "Fill[2]/I")
    tree.Branch("_file", values, "_file/I")
    tree.Fill()
    tree.Write()
    file.Close()
    with EventFile(str(tmp_path / "names.root"), "events") as events:
        assert list(Event(events).Fill) == [3, 4]
        assert Event(events)["_file"] == 3


def test_a_branch_of_several_leaves_has_no_single_value(root: Any, tmp_path: Path) -> None:
    path, tree, _ = write_shape(root, tmp_path, Shape("I", 3, 64, 0, 101, "none", ""))
    with EventFile(path, tree) as events:
        with pytest.raises(InputError, match=r"branch 'pair' .* cannot be read in Python[\s\S]*ask for one of them"):
            events.get_column("pair").read(0)
        with pytest.raises(InputError, match="has not one number per event"):
            events.get_column("hits").read_range(0, 3)


TEXTS = [b"a long word", b"a", b"", b"caf\xc3\xa9", b"\xff\xfe", b"x" * 300]


@pytest.mark.parametrize("leaves", ["text/C", "number/I:text/C"])
def test_the_text_of_a_leaf_ends_where_it_ends(root: Any, tmp_path: Path, leaves: str) -> None:
    """PyROOT gives the memory behind it, with what a longer text before it has left there."""
    path = str(tmp_path / "texts.root")
    file = root.TFile(path, "recreate")
    tree = root.TTree("events", "")
    buffer = array("b", bytes(400))
    tree.Branch("text" if leaves == "text/C" else "both", buffer, leaves, 200)
    begin = 0 if leaves == "text/C" else 4
    for text in TEXTS:
        buffer[begin : begin + len(text) + 1] = array("b", text + b"\0")
        tree.Fill()
    tree.Write()
    file.Close()
    with EventFile(path, "events") as events:
        event = Event(events)
        for entry in (0, 1, 2, 3, 4, 5, 2, 0, 5):
            event._entry = entry
            assert event.text == TEXTS[entry].decode("utf-8", "surrogateescape")
            assert isinstance(event.text, str)


def test_an_rntuple(root: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "tuple.root")
    options = root.RDF.RSnapshotOptions()
    options.fOutputFormat = root.RDF.ESnapshotOutputFormat.kRNTuple
    frame = root.RDataFrame(4).Define("exp", "1").Define("run", "int(rdfentry_) / 2").Define("x", "rdfentry_ / 4.f")
    frame = frame.Define("ok", "rdfentry_ % 2 == 0").Define("hits", "ROOT::RVecI(rdfentry_, 7)")
    frame.Snapshot("events", path, ["exp", "run", "x", "ok", "hits"], options)
    with EventFile(path, "events") as events:
        event = Event(events)
        rows = []
        for event._entry in (3, 0, 1, 2):
            rows.append((event.exp, event.run, event.x, bool(event.ok), list(event.hits)))
        assert rows == [(1, at // 2, at / 4, at % 2 == 0, [7] * at) for at in (3, 0, 1, 2)]
        arrays = EventArrays(events, range(1, 4))
        assert arrays.x.dtype == np.float32
        assert arrays.run.tolist() == [0, 1, 1]
        with pytest.raises(InputError, match="has no branch 'y'"):
            events.get_column("y")


def test_packed_arrays_are_lists(root: Any, tmp_path: Path) -> None:
    """PyROOT 6.40 has no converter for these, and ends the process."""
    path = str(tmp_path / "packed.root")
    file = root.TFile.Open(path, "RECREATE")
    tree, n = root.TTree("events", ""), array("i", [0])
    doubles, floats = array("d", [0.0] * 3), array("f", [0.0] * 6)
    tree.Branch("n", n, "n/I")
    tree.Branch("d", doubles, "d[3]/d")
    tree.Branch("f", floats, "f[n][2]/f")
    for entry in range(4):
        n[0] = entry
        doubles[:] = array("d", [entry, entry + 0.5, -entry])
        floats[:] = array("f", [entry + at / 2 for at in range(6)])
        tree.Fill()
    tree.Write()
    file.Close()
    with EventFile(path, "events") as events:
        for entry in (3, 0, 2, 1):
            assert events.get_column("d").read(entry) == [entry, entry + 0.5, -entry]
            rows = [[entry + at, entry + at + 0.5] for at in range(entry)]
            assert events.get_column("f").read(entry) == rows


@pytest.mark.filterwarnings("ignore:.*with a custom Streamer:RuntimeWarning")
def test_the_numbers_of_objects_in_a_collection(root: Any, tmp_path: Path) -> None:
    """They are not beside each other in memory: PyROOT gives the second number of the first object as the second."""
    path = str(tmp_path / "split.root")
    file = root.TFile.Open(path, "RECREATE")
    tree, points = root.TTree("events", ""), root.TClonesArray("TMarker", 4)
    tree.Branch("points", points, 32000, 99)
    for entry in range(4):
        points.Clear()
        for at in range(entry):
            marker = points.ConstructedAt(at)
            marker.SetX(entry)
            marker.SetY(10 * at)
        tree.Fill()
    tree.Write()
    file.Close()
    with EventFile(path, "events") as events:
        for entry in (3, 0, 2, 1):
            assert events.get_column("points.fX").read(entry) == [entry] * entry
            assert events.get_column("points.fY").read(entry) == [10 * at for at in range(entry)]
            markers = events.get_column("points").read(entry)
            assert [marker.GetY() for marker in markers] == [10 * at for at in range(entry)]


DATA = Path(sysconfig.get_path("purelib")) / "skhep_testdata" / "data"


def test_a_class_without_dictionary_is_refused() -> None:
    """PyROOT would take ROOT's makeshift for the class, and end the process."""
    path = DATA / "issue367b.root"
    if not path.exists():
        pytest.skip("scikit-hep-testdata is not installed, or a version without files; the extra `test` has it")
    answer = compare([str(path)])[0]
    assert (answer["plain"], answer["ours"], answer["read"]) == ([["tree", "weights"]], [], 0)
    said = r"'weights' .*issue367b\.root .*map<.* has no dictionary"
    with EventFile(str(path), "tree") as events, pytest.raises(InputError, match=said):
        events.get_column("weights").read(0)


@pytest.mark.timeout(1200)
def test_all_files_of_scikit_hep_testdata() -> None:
    """What is read is what ROOT gives, and nothing crashes; where plain ROOT crashes nothing can be compared."""
    paths = sorted(str(path) for path in DATA.glob("*.root"))
    if not paths:
        pytest.skip("scikit-hep-testdata is not installed, or a version without files; the extra `test` has it")
    answers = compare(paths)
    assert [answer["path"] for answer in answers] == paths
    assert {answer["path"]: answer["ours"] for answer in answers if answer["ours"]} == {}
    assert {answer["path"]: answer["wrong"] for answer in answers if answer["wrong"]} == {}
    read, refused = (sum(answer["read"] for answer in answers), sum(len(answer["refused"]) for answer in answers))
    assert read > 5000
    assert refused < read / 20


def compare(paths: list[str]) -> list[Any]:
    """Run the comparison in a process of its own, and give the answers before it ended."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    argv = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("compare_reading.py")), *paths]
    done = subprocess.run(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
