"""Runs, intervals, graphs, files: `caf.utils`."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.worker.basf2.dropin.caf import utils
from airflow_provider_caf.worker.basf2.dropin.caf.utils import AlgResult, ExpRun, IoV
from airflow_provider_caf.worker.basf2.dropin.warn import CafWarning
from tests.script_site import PROJECT
from tests.unit.worker.dropin.conftest import Module, Pair, Software

ENDS = [IoV(*numbers) for numbers in itertools.product(range(-1, 3), repeat=4)]


@pytest.mark.parametrize("question", ["contains", "overlaps"])
def test_iovs_compare_as_the_c_class(question: str) -> None:
    """All pairs of ends without bounds, with bounds, and in the wrong order, see `tests/vectors/README.md`."""
    vectors = json.loads((PROJECT / "tests" / "vectors" / "iovs.json").read_text("utf-8"))
    answers = ["".join("01"[getattr(one, question)(other)] for other in ENDS) for one in ENDS]
    assert [f"{int(bits, 2):064x}" for bits in answers] == vectors[question]


def test_an_empty_iov_is_the_default() -> None:
    assert tuple(IoV()) == (-1, -1, -1, -1)
    assert IoV(exp_low=1, run_low=2, exp_high=3).run_high == -1
    assert sorted([IoV(2, 0, 2, 1), IoV(1, 0, 1, 1)])[0].exp_low == 1


def test_the_c_class_is_made_when_it_is_wanted(software: Software) -> None:
    assert IoV(1, 2, 3, 4)._cpp_iov.numbers == [1, 2, 3, 4]
    vector = utils.vector_from_runs([ExpRun(1, 2)])
    assert vector == [Pair(1, 2)]
    assert utils.runs_from_vector(vector) == [ExpRun(1, 2)]
    assert utils.iov_from_runvector(vector) == IoV(1, 2, 1, 2)


def test_result_codes_are_those_of_the_c_class() -> None:
    codes = {each.name: each.value for each in AlgResult}
    assert codes == {"ok": 0, "iterate": 1, "not_enough_data": 2, "failure": 3}


def test_gaps() -> None:
    assert ExpRun(1, 1).make_iov() == IoV(1, 1, 1, 1)
    assert ExpRun(1, 1).find_gap(ExpRun(1, 5)) == ExpRun(1, 5).find_gap(ExpRun(1, 1)) == IoV(1, 2, 1, 4)
    assert ExpRun(1, 1).find_gap(ExpRun(1, 2)) is None
    assert ExpRun(1, 1).find_gap(ExpRun(2, 9)) is None
    assert utils.UNBOUND_EXPRUN == (-1, -1)
    iovs = [IoV(1, 1, 1, 2), IoV(1, 5, 1, 6), IoV(2, 0, 2, 1)]
    assert utils.find_gaps_in_iov_list(iovs) == [IoV(1, 3, 1, 4)]


def test_runs_are_split_and_chosen() -> None:
    runs = [ExpRun(1, 1), ExpRun(1, 4), ExpRun(2, 1)]
    assert utils.split_runs_by_exp(runs) == [runs[:2], runs[2:]]
    assert utils.runs_overlapping_iov(IoV(1, 2, 2, 0), runs) == {ExpRun(1, 4)}
    assert utils.iov_from_runs(runs) == IoV(1, 1, 2, 1)
    boundaries = [ExpRun(1, 0), ExpRun(1, 2), ExpRun(1, 3)]
    assert utils.find_run_lists_from_boundaries(boundaries, runs[:2]) == {
        IoV(1, 0, 1, 1): [ExpRun(1, 1)],
        IoV(1, 2, 1, 2): [],
        IoV(1, 3, 1, -1): [ExpRun(1, 4)],
    }


def test_graphs() -> None:
    graph = {"c": ["a", "b"], "b": ["a"], "a": [], "d": []}
    order = utils.topological_sort(graph)
    assert order.index("c") < order.index("b") < order.index("a")
    assert list(utils.find_sources(graph)) == ["d", "c"]
    assert utils.past_from_future_dependencies(graph)["a"] == ["c", "b"]
    assert utils.topological_sort({"a": ["nobody declared it"]}) == ["a", "nobody declared it"]
    with pytest.warns(CafWarning, match=r"go in a circle: (a -> b -> a|b -> a -> b)"):
        assert utils.topological_sort({"a": ["b"], "b": ["a"]}) == []


@st.composite
def draw_graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Draw a graph without circles: node → those after it, in any order, as scripts make them."""
    nodes = draw(st.lists(st.text("abcdef", min_size=1, max_size=3), min_size=1, max_size=8, unique=True))
    after = {
        node: draw(st.lists(st.sampled_from(nodes[place + 1 :]), unique=True)) if nodes[place + 1 :] else []
        for place, node in enumerate(nodes)
    }
    return {node: after[node] for node in draw(st.permutations(nodes))}


@given(graph=draw_graphs())
def test_orders_are_those_of_the_reference(graph: dict[str, list[str]]) -> None:
    """Its sort takes the nodes that have become free first; all that come after a node it collects in a set."""
    missing = {node: sum(node in after for after in graph.values()) for node in graph}
    waiting = [node for node in graph if not missing[node]]
    assert list(utils.find_sources(graph)) == waiting[::-1]
    order = []
    while waiting:
        order.append(waiting.pop(0))
        for node in graph[order[-1]]:
            missing[node] -= 1
            waiting += [node] if not missing[node] else []
    assert utils.topological_sort(graph) == order

    def collect(node: str, into: set[str]) -> set[str]:
        for after in graph[node]:
            into.add(after)
            collect(after, into)
        return into

    for given_order in (order, None):
        found = utils.all_dependencies(graph, given_order)
        assert list(found.items()) == [(node, list(collect(node, set()))) for node in given_order or graph]


class Dispatching:
    """Two methods by one name."""

    @utils.method_dispatch
    def show(self, value: Any) -> str:
        return "one"

    def show_many(self, value: list[Any]) -> str:
        return "many"

    show.register(list, show_many)


def test_small_ones(tmp_path: Path, software: Software) -> None:
    assert (Dispatching().show(1), Dispatching().show([1])) == ("one", "many")
    assert list(utils.grouper(2, range(3))) == [(0, 1), (2,)]
    assert list(utils.pairwise("abc")) == [("a", "b"), ("b", "c")]
    assert utils.decode_json_string("[1]") == [1]
    here = Path.cwd()
    with utils.temporary_workdir(tmp_path):
        assert Path.cwd() == tmp_path
    assert Path.cwd() == here
    utils.B2INFO_MULTILINE(["a", "b"])
    assert software.calls == [("B2INFO", f"a{utils.b2info_newline}b")]


def test_a_path_is_asked_for_its_modules() -> None:
    path = SimpleNamespace(modules=lambda: [Module("RootInput"), Module("Progress")])
    extras = utils.PathExtras(path)
    assert ("Progress" in extras, "Gearbox" in extras, extras.index("Progress")) == (True, False, 1)
    assert "Progress" not in utils.PathExtras()
    with pytest.raises(ValueError, match="Gearbox"):
        extras.index("Gearbox")


def test_databases(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no local database"):
        utils.LocalDatabase(tmp_path / "database.txt")
    (tmp_path / "database.txt").touch()
    assert utils.LocalDatabase(str(tmp_path / "database.txt")).payload_dir == tmp_path
    with pytest.raises(ValueError, match="no folder of payloads"):
        utils.LocalDatabase(tmp_path / "database.txt", tmp_path / "none")
    assert utils.CentralDatabase("tag").global_tag == "tag"


def test_local_databases_are_merged(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "database.txt").write_text(f"dbstore/{name} 1 0,0,-1,-1\n")
        (tmp_path / name / f"{name}.root").touch()
    utils.merge_local_databases([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "both"))
    assert (tmp_path / "both" / "database.txt").read_text().count("dbstore/") == 2
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["a.root", "b.root", "database.txt"]
    with pytest.raises(FileNotFoundError):
        utils.merge_local_databases([str(tmp_path / "none")], str(tmp_path / "other"))


def test_files(tmp_path: Path) -> None:
    for name in ("2.root", "1.root", "1"):
        (tmp_path / name).touch()
    (tmp_path / "10").mkdir()
    found = utils.find_absolute_file_paths([f"{tmp_path}/*.root", "root://host//x.root", f"{tmp_path}/1.root"])
    assert found == [f"{tmp_path}/1.root", f"{tmp_path}/2.root", "root://host//x.root"]
    assert [path.name for path in utils.find_int_dirs(tmp_path)] == ["10"]
    uri, plain = utils.parse_file_uri("root://host//x.root"), utils.parse_file_uri("/data/a#1.root")
    assert (uri.scheme, uri.netloc, uri.path) == ("root", "host", "//x.root")
    assert (plain.scheme, plain.path) == ("file", "/data/a#1.root")
    utils.create_directories(tmp_path / "10", overwrite=False)
    (tmp_path / "10" / "x").touch()
    utils.create_directories(tmp_path / "10")
    assert list((tmp_path / "10").iterdir()) == []


@pytest.mark.parametrize("top", ["/hsm/belle2/bdata/Data/Raw", "/group/belle2/dataprod/Data/Raw"])
def test_the_run_of_a_raw_file_is_in_its_path(top: str) -> None:
    path = f"{top}/e0003/r00123/sub00/physics.0003.00123.HLT1.f00000.root"
    assert utils.parse_raw_data_iov(path) == IoV(3, 123, 3, 123)
    with pytest.raises(ValueError, match="has not one folder"):
        utils.parse_raw_data_iov("/somewhere/else.root")


def test_the_iov_of_a_file_is_asked_of_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("a.root", "b.root"):
        (tmp_path / name).touch()
    answer = '{"experimentLow": 1, "runLow": 2, "experimentHigh": 3, "runHigh": 4}'
    command = tmp_path / "b2file-metadata-show"
    command.write_text(f"#!/bin/sh\necho \"$@\" >>{tmp_path}/asked\necho '{answer}'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    paths = [f"{tmp_path}/a.root", f"{tmp_path}/b.root"]
    found = utils.make_file_to_iov_dictionary([f"{tmp_path}/*.root"], filterfalse=lambda path: path.endswith("b.root"))
    assert found == {paths[0]: IoV(1, 2, 3, 4)}
    assert (tmp_path / "asked").read_text() == f"--json {paths[0]}\n"
    assert (
        utils.get_file_iov_tuple(paths[1])
        == (paths[1], utils.get_iov_from_file(paths[1]))
        == (
            paths[1],
            IoV(1, 2, 3, 4),
        )
    )
