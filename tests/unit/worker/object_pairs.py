# mypy: disable-error-code="misc"
"""Pairs of objects that are added: each class as it should be, and with each thing that can differ.

A pair is a name, a function that makes two objects, and a part of the expected error; None where the sum is right.

mypy cannot tell the type of a function that keeps a name of its loop by a default, so it is not asked.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any

from airflow_provider_caf.worker.root import load_root

Pair = tuple[str, Callable[[], list[Any]], "str | None"]

INTEGERS = {"C": 127, "S": 32767, "I": 2147483647}


def make_histogram(kind: str, *fills: Any, bins: int = 10, high: float = 10.0, **content: float) -> Any:
    """Make a histogram; a fill is a value or (value, weight); `bin_3=5` sets what bin 3 has."""
    histogram = getattr(load_root(), kind)("o", "", bins, 0.0, high)
    histogram.SetDirectory(load_root().nullptr)
    for fill in fills:
        histogram.Fill(*fill) if isinstance(fill, tuple) else histogram.Fill(fill)
    for name, value in content.items():
        histogram.SetBinContent(int(name.partition("_")[2]), value)
    return histogram


def make_wide(kind: str, count: int, *, bins: int = 5) -> Any:
    """Make a histogram or profile of two or three dimensions."""
    axes = (bins, 0.0, 5.0, 4, 0.0, 4.0, 3, 0.0, 3.0)
    size = 3 if "3" in kind else 2 if "2" in kind else 1
    item = getattr(load_root(), kind)("o", "", *axes[: 3 * size])
    item.SetDirectory(load_root().nullptr)
    for number in range(count):
        place = [number % 6 - 0.5, number % 5 - 0.5, number % 4 - 0.5][:size]
        item.Fill(*place, 0.3 * number) if kind.startswith("TProfile") else item.Fill(*place)
    return item


def make_labels(*labels: str, order: str = "", fixed: bool = False) -> Any:
    """Make a histogram that is filled by label."""
    histogram = load_root().TH1D("o", "", 3, 0, 3)
    histogram.SetDirectory(load_root().nullptr)
    for number, label in enumerate(order):
        histogram.GetXaxis().SetBinLabel(number + 1, label)
    if fixed:
        histogram.GetXaxis().SetCanExtend(False)
    for label in labels:
        histogram.Fill(label, 1.0)
    return histogram


def make_plane(*labels: tuple[str, str]) -> Any:
    """Make a histogram of two dimensions that is filled by labels."""
    histogram = load_root().TH2D("o", "", 3, 0, 3, 2, 0, 2)
    histogram.SetDirectory(load_root().nullptr)
    for x, y in labels:
        histogram.Fill(x, y, 1.0)
    return histogram


def make_growing(*values: float) -> Any:
    """Make a histogram whose axis grows."""
    histogram = make_histogram("TH1D")
    histogram.SetCanExtend(load_root().TH1.kAllAxes)
    for value in values:
        histogram.Fill(value)
    return histogram


def make_buffered(*values: float, high: float = 10.0, size: int = 1000) -> Any:
    """Make a histogram that has not filled its bins yet; with `high=0` not even found its range."""
    histogram = load_root().TH1D("o", "", 10, 0, high)
    histogram.SetDirectory(load_root().nullptr)
    histogram.SetBuffer(size)
    for value in values:
        histogram.Fill(value)
    return histogram


def make_polygons(kind: str, count: int, edge: float = 2.0) -> Any:
    """Make a histogram of polygons."""
    root = load_root()
    item = getattr(root, kind)("o", "", 0.0, 4.0, 0.0, 4.0)
    item.SetDirectory(root.nullptr)
    for low, high in ((0.0, 1.0), (1.0, edge), (2.5, 4.0)):
        corners = array("d", [low, low, high, high]), array("d", [low, high, high, low])
        item.AddBin(root.TGraph(4, *corners))
    for number in range(count):
        item.Fill(0.37 * number % 4, 0.37 * number % 4, 1.5 * number, *([1.0] if kind == "TProfile2Poly" else []))
    return item


def make_many(kind: str, count: int, *, bins: int = 4, weight: float | None = None, high: float = 4.0) -> Any:
    """Make a THn or THnSparse of two dimensions."""
    item = getattr(load_root(), kind)("o", "", 2, array("i", [bins, 3]), array("d", [0, 0]), array("d", [high, 3]))
    if weight is not None:
        item.Sumw2()
    for number in range(count):
        item.Fill(array("d", [0.7 * number % 5 - 0.5, 0.3 * number % 3]), *([] if weight is None else [weight]))
    return item


def make_efficiency(count: int, bins: int = 5, option: int = 0, weight: float = 1.0) -> Any:
    """Make an efficiency."""
    item = load_root().TEfficiency("o", "", bins, 0, 5)
    item.SetDirectory(load_root().nullptr)
    item.SetStatisticOption(option)
    item.SetWeight(weight)
    for number in range(count):
        item.Fill(number % 3 == 0, 0.7 * number % 5)
    return item


def make_graph(kind: str, count: int) -> Any:
    """Make a graph with as many arrays as its constructor takes."""
    arrays = {"TGraph": 2, "TGraphErrors": 4, "TGraphAsymmErrors": 6, "TGraphBentErrors": 10}[kind]
    values = [array("d", [0.1 * number + place for number in range(count)]) for place in range(arrays)]
    return getattr(load_root(), kind)(count, *values)


def make_parameter(kind: str, value: Any, mode: str = "+") -> Any:
    """Make a parameter."""
    return load_root().TParameter[kind]("o", value, mode)


def make_list(kind: str, *items: Any) -> Any:
    """Make a list, or a stack, that has items."""
    root = load_root()
    made = root.THStack("o", "") if kind == "THStack" else getattr(root, kind)()
    for item in items:
        made.Add(item)
        root.SetOwnership(item, False)
    return made


def make_statistic(*values: float) -> Any:
    """Make a TStatistic."""
    item = load_root().TStatistic("o")
    for value in values:
        item.Fill(value, 2.0)
    return item


def change(item: Any, action: Callable[[Any], Any]) -> Any:
    """Give an object after something was done to it."""
    action(item)
    return item


def average(item: Any) -> None:
    """Say that the bins of a histogram are averages."""
    item.SetBit(load_root().TH1.kIsAverage)


def fit(item: Any) -> Any:
    """Give a histogram a function, as a fit does."""
    function = load_root().TF1("shape", "gaus", 0, 10)
    load_root().SetOwnership(function, False)
    item.GetListOfFunctions().Add(function)
    return item


def list_histograms() -> Iterator[Pair]:
    """Give the pairs of histograms and profiles."""
    make = make_histogram
    for letter in "CSIFD":
        kind = f"TH1{letter}"
        yield kind, lambda kind=kind: [make(kind, 1, 2, 2), make(kind, 3, -1, 11)], None
        yield f"{kind} bins", lambda kind=kind: [make(kind, 1), make(kind, 1, bins=7)], "x axis bins is 10 in .* but 7"
        yield f"{kind} range", lambda kind=kind: [make(kind, 1), make(kind, high=9)], r"x axis range is \[0, 10\) in"
        for wide in (f"TH2{letter}", f"TH3{letter}"):
            yield wide, lambda kind=wide: [make_wide(kind, 7), make_wide(kind, 5)], None
            yield f"{wide} bins", lambda kind=wide: [make_wide(kind, 7), make_wide(kind, 5, bins=6)], "x axis bins is 5"
    for letter, most in INTEGERS.items():
        name, half = f"TH1{letter}", most // 2 + 1
        yield f"{name} full", lambda k=name, n=half: [make(k, bin_1=n), make(k, bin_1=n)], f"sum .* reached {most}, the"
    for kind in ("TProfile", "TProfile2D", "TProfile3D"):
        yield kind, lambda kind=kind: [make_wide(kind, 9), make_wide(kind, 7)], None
        for option in "sig":
            both = [option, option]
            yield f"{kind} {option}", lambda k=kind, o=both: [set_option(k, each) for each in o], None
        yield (
            f"{kind} options",
            lambda kind=kind: [set_option(kind, "s"), set_option(kind, "i")],
            "option of the errors",
        )
    for kind in ("TH2Poly", "TProfile2Poly"):
        yield kind, lambda kind=kind: [make_polygons(kind, 9), make_polygons(kind, 5)], None
        yield f"{kind} bins", lambda k=kind: [make_polygons(k, 9), make_polygons(k, 5, 2.2)], "polygons is"


def set_option(kind: str, option: str) -> Any:
    """Make a profile with an option of the errors."""
    return change(make_wide(kind, 5), lambda item: item.SetErrorOption(option))


def list_contents() -> Iterator[Pair]:
    """Give the pairs of histograms with odd contents."""
    make, nan, inf = make_histogram, float("nan"), float("inf")
    yield "negative weights", lambda: [make("TH1D", (1, -2.5), (2, 0)), make("TH1D", (1, 2.5), (4, 7))], None
    yield "weights cancel", lambda: [make("TH1D", (1.3, 1.0)), make("TH1D", (3.7, -1.0))], None
    yield "not a number", lambda: [make("TH1D", (1.3, nan)), make("TH1D", 3.7)], None
    yield "infinite", lambda: [make("TH1D", (1.3, inf)), make("TH1D", (1.3, -inf))], None
    yield "weights of one", lambda: [make("TH1F", 1, 2), make("TH1F", (1, 2.0), (3, 0.1))], None
    yield "weights of the first", lambda: [make("TH1F", (1, 2.0), (3, 0.1)), make("TH1F", 1, 2)], None
    yield "float rounds", lambda: [make("TH1F", (1, 0.1), (1, 0.3)), make("TH1F", (1, 0.7))], None
    yield "float counts", lambda: [make("TH1F", bin_1=1e7), make("TH1F", bin_1=1e7)], None
    yield "float is full", lambda: [make("TH1F", bin_1=2**24), make("TH1F", 0.5)], "is 16777216, but 16777217 was put"
    yield "parts of one", lambda: [make("TH1I", (1, 0.5)), make("TH1I", 1)], "weights were filled that are no whole"
    yield "class", lambda: [make("TH1D", 1), make("TH1F", 1)], "class is TH1D in .* but TH1F in"
    yield "empty", lambda: [make("TH1D"), make("TH1D")], None
    yield "empty of other bins", lambda: [make("TH1D", 1), make("TH1D", bins=7)], "x axis bins is 10 in"
    yield "edges", lambda: [make_edges(1), make_edges(2)], "x axis range is edges 0 1 3 in .* but edges 0 2 3 in"
    yield "part of the range", lambda: [make("TH1D", 1), make("TH1D", 15, bins=20, high=20)], "x axis bins is 10"
    yield "fitted", lambda: [fit(make("TH1D", 1)), fit(make("TH1D", 2))], None
    yield "one fitted", lambda: [fit(make("TH1D", 1)), make("TH1D", 2)], "function shape is TF1 .* but none in"
    yield "zoomed", lambda: [change(make("TH1D", 1, 7), lambda h: h.GetXaxis().SetRange(2, 5)), make("TH1D", 9)], None
    yield "averages", lambda: [change(make("TH1D", 1), average) for _ in "12"], "kIsAverage"
    yield (
        "one average",
        lambda: [change(make("TH1D", 1), average), make("TH1D", 1)],
        "average is yes",
    )


def make_edges(middle: float) -> Any:
    """Make a histogram with two bins that meet somewhere."""
    return load_root().TH1D("o", "", 2, array("d", [0, middle, 3]))


def list_axes() -> Iterator[Pair]:
    """Give the pairs of histograms whose axes grow or have labels."""
    yield "labels", lambda: [make_labels("a", "b"), make_labels("a", "b", "b")], None
    yield "labels in another order", lambda: [make_labels("a", "b", "b"), make_labels("b", "a")], None
    yield "more labels", lambda: [make_labels("a", "b"), make_labels("c", "a", "d", "e", "f")], None
    yield "labels and empty", lambda: [make_labels("a", "b"), make_labels()], None
    yield "empty and labels", lambda: [make_labels(), make_labels("a", "b")], None
    yield (
        "labels and numbers",
        lambda: [make_labels("a", "b", "b"), make_histogram("TH1D", 1.5, 2.5, bins=3, high=3)],
        "x axis label b is 3, but 2",
    )
    yield "set labels", lambda: [make_labels("a", order="abc"), make_labels("c", order="abc")], None
    yield "set labels in another order", lambda: [make_labels("a", order="abc"), make_labels("a", order="cba")], None
    yield "fixed labels", lambda: [make_labels("a", order="abc", fixed=True) for _ in "12"], None
    orders = ("abc", "cba")
    other = "x axis labels is 1=a 2=b 3=c +in .* but 1=c 2=b 3=a"
    yield "fixed labels differ", lambda: [make_labels("a", order=each, fixed=True) for each in orders], other
    first, second = (("a", "x"), ("b", "y")), (("c", "y"), ("b", "y"), ("d", "z"), ("a", "q"))
    yield "labels of two axes", lambda: [make_plane(*first), make_plane(*second)], None
    yield "growing", lambda: [make_growing(1, 2, 3), make_growing(5, 25, 77)], None
    yield "growing to the left", lambda: [make_growing(1, -33), make_growing(25, 77)], "limits are inconsistent"
    yield "buffer", lambda: [make_buffered(1, 2, 3), make_buffered(5, 25, 7)], None
    yield "buffer without range", lambda: [make_buffered(1, 2, high=0), make_buffered(5, 25, high=0)], None
    found = [float(number) for number in range(50)]
    yield "one without range", lambda: [make_buffered(*found, high=0, size=20), make_buffered(1, 99, high=0)], None
    wide = [float(number) for number in range(90)]
    ranges = [found, wide]
    yield (
        "two ranges found",
        lambda: [make_buffered(*each, high=0, size=20) for each in ranges],
        "lost content|fit|limits",
    )


def list_others() -> Iterator[Pair]:
    """Give the pairs of all other classes."""
    for kind in [name + letter for name in ("THn", "THnSparse") for letter in "CSIFDL"]:
        yield kind, lambda k=kind: [make_many(k, 9), make_many(k, 5)], None
        yield f"{kind} weights", lambda k=kind: [make_many(k, 9, weight=2.0), make_many(k, 5, weight=3.0)], None
        yield f"{kind} one with weights", lambda k=kind: [make_many(k, 9), make_many(k, 5, weight=3.0)], None
        yield (
            f"{kind} bins",
            lambda k=kind: [make_many(k, 9), make_many(k, 5, bins=5)],
            "axis 0 bins is 4 in .* but 5 in",
        )
        yield f"{kind} range", lambda k=kind: [make_many(k, 9), make_many(k, 5, high=5.0)], r"axis 0 range is \[0, 4\)"
    for kind in ("THnC", "THnSparseC"):
        yield f"{kind} is full", lambda k=kind: [make_many(k, 1000), make_many(k, 1000)], "lost content"
    yield "TEfficiency", lambda: [make_efficiency(9), make_efficiency(5)], None
    yield "TEfficiency and empty", lambda: [make_efficiency(0), make_efficiency(5)], None
    yield (
        "TEfficiency bins",
        lambda: [make_efficiency(9), make_efficiency(5, 6)],
        "passed: x axis bins is 5 in .* but 6",
    )
    yield "TEfficiency option", lambda: [make_efficiency(9), make_efficiency(5, option=1)], "statistic option is 0"
    for kind in ("TGraph", "TGraphErrors", "TGraphAsymmErrors", "TGraphBentErrors"):
        yield kind, lambda k=kind: [make_graph(k, 3), make_graph(k, 4)], None
    yield "TGraph class", lambda: [make_graph("TGraph", 3), make_graph("TGraphErrors", 4)], "class is TGraph in"
    for kind, one, two in (("double", 1.5, 2.5), ("float", 1.5, 2.3), ("int", 3, 4), ("bool", True, False)):
        for mode in "+*Mmfl":
            values = [(kind, one, mode), (kind, two, mode)]
            yield f"TParameter {kind} {mode}", lambda v=values: [make_parameter(*each) for each in v], None
    yield "TParameter mode", lambda: [make_parameter("int", 3), make_parameter("int", 3, "M")], "merge mode is total in"
    yield "TParameter full", lambda: [make_parameter("int", 2**31 - 1), make_parameter("int", 1)], "lost content"
    for kind in ("TList", "TObjArray", "THashList", "THStack"):
        yield kind, lambda k=kind: [make_list(k, make_histogram("TH1D", number)) for number in (1, 2)], None
        differ = [10, 5]
        yield (
            f"{kind} bins",
            lambda k=kind, d=differ: [make_list(k, make_histogram("TH1D", bins=b)) for b in d],
            "item 1 ",
        )
        yield (
            f"{kind} size",
            lambda k=kind: [make_list(k, *[make_histogram("TH1D") for _ in range(n)]) for n in (1, 2)],
            "item",
        )
    yield (
        "TList of names",
        lambda: [make_list("TList", load_root().TNamed("a", "b")) for _ in "12"],
        "items is 2, it was 1",
    )
    yield "TStatistic", lambda: [make_statistic(1, 2, 3), make_statistic(4, -5)], None
    yield "TStatistic and empty", lambda: [make_statistic(), make_statistic(4, -5)], None
    yield "TNamed", lambda: [load_root().TNamed("o", each) for each in "ab"], "cannot (be )?merge"


def list_pairs() -> list[Pair]:
    """Give all pairs."""
    return [*list_histograms(), *list_contents(), *list_axes(), *list_others()]
