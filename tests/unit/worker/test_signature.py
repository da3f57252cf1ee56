"""What is added is all there afterwards, or it is an error: each class, by `get` of an algorithm and by a merge."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import CafError, DefinitionError, InputError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect.collected import CollectedData
from airflow_provider_caf.worker.collect.collector import Collector, run_collector
from airflow_provider_caf.worker.collect.merge import MergeRequest, merge_collection
from airflow_provider_caf.worker.collect.signature import Tally
from airflow_provider_caf.worker.root import load_root
from tests.unit.worker.object_pairs import list_pairs, make_growing, make_histogram

# PyROOT makes Python's warnings of ROOT's.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::RuntimeWarning")]

PAIRS = {pair[0]: pair for pair in list_pairs()}


def write_output(path: Path, objects: dict[str, Any]) -> str:
    """Write a collector output of the objects, by key such as `o_1.1`, as a foreign collector would."""
    root = load_root()
    file = root.TFile.Open(str(path), "RECREATE")
    folder = file.mkdir("P")
    inside = folder.mkdir("o")
    for key, item in objects.items():
        inside.WriteTObject(item, key)
    folder.cd()
    tree = root.TTree("RunRange", "")
    numbers = array("i", [1]), array("i", [1]), array("q", [1])
    for name, leaf, number in zip(("exp", "run", "events"), "IIL", numbers, strict=True):
        tree.Branch(name, number, f"{name}/{leaf}")
    tree.Fill()
    tree.Write()
    file.Close()
    root.gROOT.cd()
    return str(path)


def merge(folder: Path, inputs: list[str]) -> CollectedData:
    """Merge outputs and open what was merged."""
    request = MergeRequest(
        collection="c", inputs=tuple(inputs), output=str(folder / "m.root"), index=str(folder / "m.json"), processes=1
    )
    merge_collection(request)
    return CollectedData([request.index], "P")


@pytest.mark.parametrize("name", PAIRS)
def test_two_runs_are_added_or_refused(name: str, tmp_path: Path) -> None:
    _, make, expected = PAIRS[name]
    keys = {f"o_1.{number}": item for number, item in enumerate(make(), 1)}
    path = write_output(tmp_path / "a.root", keys)
    runs = [ExpRun(1, 1), ExpRun(1, 2)]
    if expected is None:
        data = merge(tmp_path, [path])
        assert data.get("o", runs)
        data.close()
    else:
        with pytest.raises(InputError) as caught:
            merge(tmp_path, [path]).get("o", runs)
        assert re.search(expected, str(caught.value)), caught.value


@pytest.mark.parametrize("name", PAIRS)
def test_two_files_are_merged_or_refused(name: str, tmp_path: Path) -> None:
    _, make, expected = PAIRS[name]
    inputs = [write_output(tmp_path / f"{number}.root", {"o_1.1": item}) for number, item in enumerate(make())]
    if expected is None:
        data = merge(tmp_path, inputs)
        assert data.get("o", [ExpRun(1, 1)])
        data.close()
    else:
        with pytest.raises(CafError) as caught:
            merge(tmp_path, inputs)
        assert re.search(expected, str(caught.value)), caught.value
        assert not (tmp_path / "m.json").exists()
        if " is " in expected and " in " in expected:
            # A difference names the object and both files.
            assert re.search(f"'P/o/o_1.1'.* in {inputs[0]}.* in {inputs[1]}", str(caught.value))


# ---- trees

Branch = tuple[str, str]
Change = Callable[[Any], object]
ONE: list[Branch] = [("a", "a/D")]


def write_tree(path: Path, branches: list[Branch], entries: int = 3, change: Change | None = None) -> str:
    """Write a collector output with a tree; a leaf like `vector<float>` makes a branch of such."""
    root = load_root()
    file = root.TFile.Open(str(path), "RECREATE")
    tree = root.TTree("o", "")
    values: list[Any] = []
    for name, leaf in branches:
        is_vector = leaf.startswith("vector")
        values.append(root.std.vector[leaf[7:-1]]() if is_vector else array(leaf.split("/")[1][0].lower(), [0] * 4))
        tree.Branch(name, values[-1], *([] if is_vector else [leaf]))
    for number in range(entries):
        for value in values:
            if isinstance(value, array):
                value[0] = number % 3 + 1
            else:
                value.assign(number, 2.5)
        tree.Fill()
    if change is not None:
        change(tree)
    tree.ResetBranchAddresses()
    written = write_output(path.with_suffix(".out"), {"o_1.1": tree})
    file.Close()
    root.gROOT.cd()
    return written


def add_user_info(tree: Any, text: str) -> None:
    item = load_root().TNamed("info", text)
    load_root().SetOwnership(item, False)
    tree.GetUserInfo().Add(item)


TREES: dict[str, tuple[list[Branch], list[Branch], str | None]] = {
    "same": (ONE, ONE, None),
    "order": ([*ONE, ("b", "b/I")], [("b", "b/I"), *ONE], None),
    "missing": ([*ONE, ("b", "b/I")], ONE, r"branch b is b/I.*0\.out, but none in .*1\.out"),
    "added": (ONE, [*ONE, ("b", "b/I")], r"branch b is none in .*0\.out, but b/I.*1\.out"),
    "type": (ONE, [("a", "a/F")], r"branch a is a/D.*Double_t in .*, but a/F.*Float_t in "),
    "length": ([("a", "a[3]/D")], [("a", "a[4]/D")], r"branch a is a\[3\]/D"),
    "shape": ([("a", "a[2][1]/D")], [("a", "a[1][2]/D")], r"branch a is a\[2\]\[1\]/D"),
    "counted": ([("n", "n/I"), ("a", "a[n]/D")], [("n", "n/I"), ("a", "a[n]/D")], None),
    "counted or fixed": ([("n", "n/I"), ("a", "a[n]/D")], [("n", "n/I"), ("a", "a[3]/D")], r"branch a is a\[n\]/D"),
    "vectors": ([("v", "vector<float>")], [("v", "vector<float>")], None),
    "types of vectors": ([("v", "vector<float>")], [("v", "vector<double>")], "branch v is vector<float>"),
    "leaves": ([("a", "x/D:y/D")], [("a", "x/D:y/D")], None),
    "other leaves": ([("a", "x/D:y/D")], [("a", "y/D:x/D")], "branch a is x/D:y/D"),
    "packed range": ([("a", "a/d[0,10,8]")], [("a", "a/d[0,20,8]")], r"branch a is a/d\[0,10,8\]"),
}


@pytest.mark.parametrize("entries", [(3, 3), (0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("name", TREES)
def test_trees_are_merged_or_refused(name: str, entries: tuple[int, int], tmp_path: Path) -> None:
    *sides, expected = TREES[name]
    files = [write_tree(tmp_path / f"{at}.root", sides[at], entries[at]) for at in (0, 1)]
    if expected is None:
        data = merge(tmp_path, files)
        assert data.get("o", [ExpRun(1, 1)]).GetEntries() == sum(entries)
        data.close()
    else:
        with pytest.raises(InputError, match=f"'P/o/o_1.1' cannot be merged: {expected}"):
            merge(tmp_path, files)


CHANGES: dict[str, tuple[Change | None, Change | None, str | None]] = {
    "aliases": (lambda t: t.SetAlias("z", "2*a"), lambda t: t.SetAlias("z", "2*a"), None),
    "other aliases": (
        lambda t: t.SetAlias("z", "2*a"),
        lambda t: t.SetAlias("z", "3*a"),
        r"is 2\*a in .* but 3",
    ),
    "an alias": (lambda t: t.SetAlias("z", "2*a"), None, r"alias z is 2\*a in .* but none in"),
    "weights": (lambda t: t.SetWeight(2), lambda t: t.SetWeight(3), "weight is 2 in .* but 3 in"),
    "user info": (lambda t: add_user_info(t, "x"), lambda t: add_user_info(t, "x"), None),
    "other user info": (lambda t: add_user_info(t, "x"), lambda t: add_user_info(t, "y"), "info is TNamed x"),
    "indexes": (lambda t: t.BuildIndex("a"), lambda t: t.BuildIndex("a"), None),
    "an index": (lambda t: t.BuildIndex("a"), None, "index is a, 0 in .* but none in"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", CHANGES)
def test_what_trees_have_beside_branches(name: str, tmp_path: Path) -> None:
    *sides, expected = CHANGES[name]
    files = [write_tree(tmp_path / f"{at}.root", ONE, change=side) for at, side in enumerate(sides)]
    if expected is None:
        merge(tmp_path, files).close()
    else:
        with pytest.raises(InputError, match=expected):
            merge(tmp_path, files)


def test_trees_with_friends_are_not_added(tmp_path: Path) -> None:
    friend = write_tree(tmp_path / "friend.root", ONE)
    files = [
        write_tree(tmp_path / f"{at}.root", ONE, change=lambda t: t.AddFriend("P/o/o_1.1", friend)) for at in (0, 1)
    ]
    merge(tmp_path, files[:1]).close()
    with pytest.raises(InputError, match="cannot be merged: the trees that are friends of a tree are not"):
        merge(tmp_path, files)


# ---- the rules themselves


def test_an_unknown_class_is_merged_while_root_is_silent(tmp_path: Path, root: Any) -> None:
    def make(entry: int) -> Any:
        item = root.TEntryList("o", "")
        item.Enter(entry)
        return item

    files = [write_output(tmp_path / f"{at}.root", {"o_1.1": make(at)}) for at in (0, 1)]
    assert merge(tmp_path, files).get("o", [ExpRun(1, 1)]).GetN() == 2


def test_the_newest_cycle_counts_and_has_not_less(tmp_path: Path, root: Any) -> None:
    path = write_output(tmp_path / "a.root", {"o_1.1": make_histogram("TH1D", 1)})
    file = root.TFile.Open(path, "UPDATE")
    file.GetDirectory("P/o").WriteTObject(make_histogram("TH1D", 1, 2, 3), "o_1.1")
    file.Close()
    assert merge(tmp_path, [path, path]).get("o", [ExpRun(1, 1)]).GetEntries() == 6
    file = root.TFile.Open(path, "UPDATE")
    file.GetDirectory("P/o").WriteTObject(make_histogram("TH1D", 1), "o_1.1")
    file.Close()
    with pytest.raises(InputError, match="cycle 2 has 3 entries, the newest, 3, has 1"):
        merge(tmp_path, [path])


def test_a_growing_axis_fits_all_but_others_have_to_fit_each_other() -> None:
    tally = Tally("object 'x'")
    for number, item in enumerate([make_growing(1), make_histogram("TH1D"), make_growing(20), make_histogram("TH1D")]):
        tally.add(item, f"file {number}")
    with pytest.raises(InputError, match=r"range is \[0, 10\) in file 1, but \[0, 9\) in file 4"):
        tally.add(make_histogram("TH1D", high=9.0), "file 4")


def test_what_root_reports_is_in_the_error(tmp_path: Path) -> None:
    name = "growing to the left"
    keys = {f"o_1.{number}": item for number, item in enumerate(PAIRS[name][1](), 1)}
    data = merge(tmp_path, [write_output(tmp_path / "a.root", keys)])
    with pytest.raises(InputError, match="ROOT says: Merge: Cannot merge histograms - limits are inconsistent"):
        data.get("o", [ExpRun(1, 1), ExpRun(1, 2)])


@pytest.mark.parametrize(
    ("kind", "fill", "expected"),
    [
        ("TH1C", lambda h: [h.Fill(1) for _ in range(200)], "a bin has reached 127, the most that a TH1C keeps"),
        ("TH1S", lambda h: h.Fill(1, 40000), "a bin has reached 32767"),
        ("TH1I", lambda h: [h.Fill(1, 0.5) for _ in range(4)], "its bins hold 0 of the 2 that was filled"),
        ("TH1F", lambda h: (h.SetBinContent(1, 2**24), h.SetEntries(2**24)), "16777216, where a TH1F stops to count"),
    ],
)
def test_a_job_refuses_what_its_class_could_not_keep(
    kind: str, fill: Callable[[Any], object], expected: str, tmp_path: Path
) -> None:
    class Counter(Collector):
        def prepare(self) -> None:
            self.register("h", make_histogram(kind))

        def run_over(self, files: Any) -> None:
            self.process_event(ExpRun(1, 1), None)

        def collect(self, event: Any) -> None:
            fill(self.get("h"))

    with pytest.raises(DefinitionError, match=expected) as caught:
        run_collector(Counter(), [], (), str(tmp_path / "out.root"))
    assert "object 'h' of run 1.1 of the collector 'Counter'" in str(caught.value)
    assert not (tmp_path / "out.root").exists()


class WeightedProfile(Collector):
    """Fills a profile with some weights; the second file of two may be the first that has any."""

    prefix = "P"
    weights: tuple[float, ...] = ()

    def prepare(self) -> None:
        self.register("o", load_root().TProfile("o", "", 10, 0, 10))

    def run_over(self, files: Any) -> None:
        self.process_event(ExpRun(1, 1), None)

    def collect(self, event: Any) -> None:
        for weight in self.weights:
            self.get("o").Fill(1, weight, weight)


@pytest.mark.parametrize("parts", [[(), (0.25,)], [(1.0, 1.0), (0.25, 0.5)], [(0.5, 0.25), (1.0,)]])
def test_weights_of_a_profile_survive_whichever_part_is_the_first(
    parts: list[tuple[float, ...]], tmp_path: Path
) -> None:
    def collect(weights: tuple[float, ...], name: str) -> str:
        collector = WeightedProfile()
        collector.weights = weights
        run_collector(collector, [], (), str(tmp_path / name))
        return str(tmp_path / name)

    whole = load_root().TProfile("whole", "", 10, 0, 10)
    whole.SetDirectory(load_root().nullptr)
    for weight in sum(parts, ()):
        whole.Fill(1, weight, weight)
    data = merge(tmp_path, [collect(weights, f"{at}.root") for at, weights in enumerate(parts)])
    found = data.get("o", [ExpRun(1, 1)])
    for read in ("GetBinContent", "GetBinError", "GetBinEffectiveEntries"):
        assert getattr(found, read)(2) == pytest.approx(getattr(whole, read)(2)), read
    data.close()


def test_profiles_whose_weights_would_be_lost_are_refused(tmp_path: Path) -> None:
    def make(name: str, *weights: float) -> str:
        item = load_root().TProfile("o", "", 10, 0, 10)
        item.SetDirectory(load_root().nullptr)
        for weight in weights:
            item.Fill(1, weight, weight)
        return write_output(tmp_path / name, {"o_1.1": item})

    with pytest.raises(InputError, match="sum of the squared weights") as caught:
        merge(tmp_path, [make("a.root"), make("b.root", 0.25)])
    assert "Sumw2()" in (caught.value.hint or "")


def test_moments_are_exact_where_the_first_weights_cancel(tmp_path: Path) -> None:
    """ROOT makes up the moments of a histogram anew, from the middles of its bins, where its weights add up to 0."""
    parts = [[(1.0, 1.0)], [(0.2, 1.0), (0.2, -2.0)], [(0.3, -1.0), (0.3, 1.0)], [(0.4, 1.0)], [(3.1, 2.0)]]
    files, whole = [], make_histogram("TH1D")
    for number, fills in enumerate(parts):
        part = make_histogram("TH1D")
        for x, weight in fills:
            part.Fill(x, weight)
            whole.Fill(x, weight)
        files.append(write_output(tmp_path / f"{number}.root", {"o_1.1": part}))
    data = merge(tmp_path, files)
    found = data.get("o", [ExpRun(1, 1)])
    for read in ("GetEntries", "GetSumOfWeights", "GetMean", "GetStdDev"):
        assert getattr(found, read)() == pytest.approx(getattr(whole, read)()), read
    data.close()


STATS = ("GetEntries", "GetSumOfWeights", "GetMean", "GetStdDev")


def fill_stack(fills: list[tuple[float, float]]) -> Any:
    stack = load_root().THStack("stack", "")
    for shift in (0.0, 0.3):
        histogram = make_histogram("TH1D")
        histogram.SetName(f"h{shift}")
        for x, weight in fills:
            histogram.Fill(x + shift, weight)
        load_root().SetOwnership(histogram, False)
        stack.Add(histogram)
    return stack


@pytest.mark.parametrize("kind", ["TH1D", "TH1F", "TProfile", "THStack"])
@pytest.mark.parametrize(
    "parts",
    [
        [[(2.2, 1.0)], [(3.3, -1.0), (3.4, 1.0)], [(7.1, 3.0)]],
        [[(3.3, -1.0), (3.4, 1.0)], [(2.2, 1.0)]],
        [[(3.3, -1.0), (3.4, 1.0)], [(2.2, 1.0), (2.4, -1.0)], [], [(5.3, 1.0)]],
        [[(1.3, 1.0)], [(1.6, -1.0)], [(4.3, 2.0)]],
    ],
)
def test_moments_are_exact_where_parts_cancel(
    tmp_path: Path, kind: str, parts: list[list[tuple[float, float]]]
) -> None:
    def make(fills: list[tuple[float, float]]) -> Any:
        if kind == "THStack":
            return fill_stack(fills)
        histogram = make_histogram(kind)
        histogram.Sumw2()
        for x, weight in fills:
            histogram.Fill(x, *([1.0] if kind == "TProfile" else []), weight)
        return histogram

    whole = make([fill for fills in parts for fill in fills])
    of_one_run = [write_output(tmp_path / f"{at}.root", {"o_1.1": make(fills)}) for at, fills in enumerate(parts)]
    of_many = [write_output(tmp_path / f"m{at}.root", {f"o_1.{at}": make(fills)}) for at, fills in enumerate(parts)]
    for files, runs in ((of_one_run, 1), (of_many, len(parts))):
        data = merge(tmp_path, files)
        found = data.get("o", [ExpRun(1, run if runs > 1 else 1) for run in range(runs)])
        pairs = zip(found.GetHists(), whole.GetHists(), strict=True) if kind == "THStack" else [(found, whole)]
        for one, other in pairs:
            for read in STATS:
                assert getattr(one, read)() == pytest.approx(getattr(other, read)()), read
        data.close()


Weighted = list[tuple[float, float]]
FILLS = st.lists(st.tuples(st.floats(-2, 12), st.sampled_from([1.0, 1.0, 0.25, -2.0, 0.1])), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(FILLS, min_size=1, max_size=5), kind=st.sampled_from(["TH1D", "TH1F", "TProfile", "TTree"]))
def test_the_sum_of_parts_is_the_whole(parts: list[Weighted], kind: str, tmp_path: Path) -> None:
    root = load_root()

    def make(fills: Weighted) -> Any:
        if kind == "TTree":
            return root.TNtupleD("o", "", "x:w") if not fills else fill_ntuple(fills)
        item = root.TProfile("o", "", 10, 0, 10) if kind == "TProfile" else make_histogram(kind)
        item.SetDirectory(root.nullptr)
        if kind == "TProfile":
            item.Sumw2()  # as the framework's collectors do
        for x, weight in fills:
            item.Fill(x, 2 * x, abs(weight)) if kind == "TProfile" else item.Fill(x, weight)
        return item

    def fill_ntuple(fills: Weighted) -> Any:
        item = root.TNtupleD("o", "", "x:w")
        for x, weight in fills:
            item.Fill(x, weight)
        return item

    whole = make([fill for fills in parts for fill in fills])
    files = [write_output(tmp_path / f"{at}.root", {"o_1.1": make(fills)}) for at, fills in enumerate(parts)]
    data = merge(tmp_path, files)
    found = data.get("o", [ExpRun(1, 1)])
    assert found.GetEntries() == whole.GetEntries()
    if kind == "TTree":
        assert [(row.x, row.w) for row in found] == [fill for fills in parts for fill in fills]
    else:
        for number in range(12):
            assert found.GetBinContent(number) == pytest.approx(whole.GetBinContent(number), abs=1e-5)
            assert found.GetBinError(number) == pytest.approx(whole.GetBinError(number), abs=1e-5)
    data.close()
