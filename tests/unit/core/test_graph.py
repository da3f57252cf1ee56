from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.graph import find_ancestors, order_calibrations


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Graphs without a cycle, whose order of definition is shuffled."""
    names = [f"c{number}" for number in range(draw(st.integers(0, 8)))]
    edges = {
        name: draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else []
        for index, name in enumerate(names)
    }
    return {name: edges[name] for name in draw(st.permutations(names))}


def reach(depends: dict[str, list[str]], name: str) -> set[str]:
    found: set[str] = set()
    for other in depends[name]:
        found |= {other} | reach(depends, other)
    return found


@given(graphs())
def test_each_comes_after_what_it_needs(depends: dict[str, list[str]]) -> None:
    order = order_calibrations(depends)
    assert sorted(order) == sorted(depends)
    for name, needed in depends.items():
        assert all(order.index(other) < order.index(name) for other in needed)


@given(graphs())
def test_order_of_definition_is_kept_where_it_can_be(depends: dict[str, list[str]]) -> None:
    place = {name: index for index, name in enumerate(depends)}
    order = order_calibrations(depends)
    done: set[str] = set()
    for name in order:
        ready = [each for each in depends if each not in done and set(depends[each]) <= done]
        assert name == min(ready, key=place.__getitem__)
        done.add(name)


def test_definition_order_without_dependencies() -> None:
    assert order_calibrations({"z": [], "a": [], "m": []}) == ("z", "a", "m")


def test_generators_are_read_once() -> None:
    assert order_calibrations({"a": iter(["b"]), "b": iter(())}) == ("b", "a")


@given(graphs())
def test_ancestors(depends: dict[str, list[str]]) -> None:
    for name in depends:
        found = find_ancestors(depends, name)
        assert set(found) == reach(depends, name)
        assert len(found) == len(set(found))
        for index, each in enumerate(found):
            # What was made with another's payloads comes before it: its payloads are newer.
            assert not reach(depends, each) & set(found[:index])


def test_nearest_ancestor_first() -> None:
    depends = {"a": [], "b": ["a"], "c": ["b"], "other": [], "d": ["a", "other", "c"]}
    assert find_ancestors(depends, "d") == ("c", "other", "b", "a")
    assert find_ancestors(depends, "a") == ()


def test_ancestors_of_nobody() -> None:
    with pytest.raises(DefinitionError, match="There is no calibration 'vertx'") as caught:
        find_ancestors({"vertex": []}, "vertx")
    assert "Did you mean 'vertex'?" in str(caught.value)


@pytest.mark.parametrize(
    ("depends", "ring"),
    [
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "a → b → c → a"),
        ({"x": [], "b": ["c", "x"], "c": ["a"], "a": ["b"]}, "b → c → a → b"),
        ({"a": ["a"]}, "a → a"),
        ({"start": ["a"], "a": ["b"], "b": ["a"]}, "a → b → a"),
    ],
)
def test_cycle_is_named(depends: dict[str, list[str]], ring: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        order_calibrations(depends)
    assert f"in a circle: {ring}." in str(caught.value)
    assert "Take one of these dependencies out" in str(caught.value)
    with pytest.raises(DefinitionError, match="in a circle"):
        find_ancestors(depends, next(iter(depends)))


def test_unknown_dependency() -> None:
    with pytest.raises(DefinitionError) as caught:
        order_calibrations({"beamspot": [], "vertex": ["beamsport"]})
    text = str(caught.value)
    assert "Calibration 'vertex' depends on 'beamsport', which does not exist." in text
    assert "Did you mean 'beamspot'?" in text
