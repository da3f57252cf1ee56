from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.json_form import (
    JsonRecord,
    normalise_json,
    read_flag,
    read_list,
    read_object,
    read_optional,
    read_text,
    read_whole_number,
    read_with,
)
from airflow_provider_caf.core.record import record

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class TestNormalise:
    @given(json_values)
    def test_json_values_are_kept(self, value: Any) -> None:
        assert normalise_json(value, "settings") == value
        assert json.loads(json.dumps(normalise_json(value, "settings"))) == value

    def test_tuples_and_mappings_become_plain(self) -> None:
        made = normalise_json(OrderedDict(a=(1, (2,))), "settings")
        assert made == {"a": [1, [2]]}
        assert type(made) is dict

    def test_is_a_copy(self) -> None:
        inner = [1]
        made = normalise_json({"a": inner}, "settings")
        inner.append(2)
        assert made == {"a": [1]}

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ({"a": [object]}, r"settings\['a'\]\[0\] holds <class 'object'> of type type"),
            ({1: 2}, r"settings has the key 1, which is no text"),
            ([float("nan")], r"settings\[0\] holds nan"),
            (float("inf"), r"settings holds inf"),
            ({"a": {1, 2}}, r"of type set"),
            (b"x", r"of type bytes"),
        ],
    )
    def test_what_json_cannot_carry(self, value: Any, message: str) -> None:
        with pytest.raises(DefinitionError, match=message) as caught:
            normalise_json(value, "settings")
        assert caught.value.hint

    def test_a_value_that_holds_itself(self) -> None:
        value: list[Any] = []
        value.append(value)
        with pytest.raises(DefinitionError, match="more than 50 levels"):
            normalise_json(value, "settings")


class TestReader:
    @pytest.mark.parametrize(
        ("read", "value", "wanted"),
        [
            (read_text, 1, "a text"),
            (read_flag, 1, "true or false"),
            (read_whole_number, True, "a whole number"),
            (read_whole_number, 1.0, "a whole number"),
            (read_object, [], "a mapping"),
            (read_list(read_text), "abc", "a list"),
            (read_list(read_text), ["a", 1], "a text"),
            (read_optional(read_text), 1, "a text"),
        ],
    )
    def test_wrong_type(self, read: Any, value: Any, wanted: str) -> None:
        with pytest.raises(DefinitionError, match=r"'a' of the thing is ") as caught:
            read(value, "'a' of the thing")
        assert f"It has to be {wanted}" in str(caught.value)

    def test_optional_and_object(self) -> None:
        assert read_optional(read_text)(None, "x") is None
        assert read_optional(read_text)("a", "x") == "a"
        assert read_object({"a": (1,)}, "x") == {"a": [1]}

    def test_the_place_is_added_to_an_inner_error(self) -> None:
        with pytest.raises(DefinitionError, match=r"In 'runs' of the thing: 'x' is not a run") as caught:
            read_with(ExpRun.from_json)("x", "'runs' of the thing")
        assert caught.value.hint


@record
class Inner(JsonRecord):
    noun = "inner thing"

    name: str
    runs: tuple[ExpRun, ...] = ()


def read_share(value: Any, where: str) -> float:
    if not 0 <= value < 1:
        raise DefinitionError(f"The {where} is {value!r}.", hint="Give a share.")
    return float(value)


@record
class Outer(JsonRecord):
    noun = "outer thing"
    version = 2
    short_fields = ("inners",)
    left_out = ("cache",)

    count: int
    flag: bool = False
    number: float | None = None
    words: tuple[str, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    one: Inner | None = None
    inners: tuple[Inner, ...] = ()
    iovs: Mapping[str, IoV] = field(default_factory=dict)
    share: Annotated[float, read_share] = 0
    cache: Any = None


@record
class Shared(JsonRecord):
    is_shared = True

    name: str


@record
class Hopeless(JsonRecord):
    path: Path


OUTERS = st.builds(
    Outer,
    count=st.integers(),
    flag=st.booleans(),
    number=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    words=st.none() | st.lists(st.text()).map(tuple),
    options=st.dictionaries(st.text(), st.none() | st.integers() | st.lists(st.text())),
    one=st.none() | st.builds(Inner, name=st.text()),
    inners=st.lists(st.builds(Inner, name=st.text(), runs=st.just((ExpRun(1, 2),)))).map(tuple),
    iovs=st.dictionaries(st.text(), st.just(IoV(1, 2, -1, -1))),
    share=st.just(0.0) | st.just(0.5),
)


class TestRecord:
    @given(OUTERS)
    def test_round_trip(self, outer: Outer) -> None:
        assert Outer.from_json(json.loads(json.dumps(outer.to_json()))) == outer

    def test_what_stands_there(self) -> None:
        assert Outer(count=1, cache=object()).to_json() == {
            "version": 2,
            "count": 1,
            "flag": False,
            "number": None,
            "words": None,
            "options": {},
            "one": None,
            "iovs": {},
            "share": 0,
        }

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"count": 1.0}, r"The 'count' of the outer thing is 1\.0"),
            ({"count": True}, "The 'count' of the outer thing is True"),
            ({"number": float("inf")}, "The 'number' of the outer thing is inf"),
            ({"words": "ab"}, "The 'words' of the outer thing is 'ab'"),
            ({"words": ["a", 1]}, "The item 1 of 'words' of the outer thing is 1"),
            ({"options": {1: 2}}, "'options' of the outer thing has the key 1"),
            ({"one": {"name": 1}}, "In 'one' of the outer thing: The 'name' of the inner thing is 1"),
            (
                {"inners": [{"name": "a"}, {"name": "b", "runs": [[1, 2], [1]]}]},
                (
                    r"In item 1 of 'inners' of the outer thing: In item 1 of 'runs' of the inner thing 'b': "
                    r"\[1\] is not a run"
                ),
            ),
            ({"iovs": {"a": [1]}}, r"In 'a' of 'iovs' of the outer thing: \[1\] is not an IoV"),
            ({"share": 1.5}, "The 'share' of the outer thing is 1.5"),
            ({"cache": 1}, "The outer thing has an unknown field 'cache'"),
            ({"conut": 1}, r"unknown field 'conut'[\s\S]*Did you mean 'count'"),
            ({"version": 3}, "The outer thing has version 3, this program knows 2"),
            ({"version": None}, "The 'version' of the outer thing is None"),
        ],
    )
    def test_strict(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(DefinitionError, match=message) as caught:
            Outer.from_json({"version": 2, "count": 1, **change})
        assert caught.value.hint

    @pytest.mark.parametrize("missing", ["version", "count"])
    def test_missing(self, missing: str) -> None:
        value = {name: item for name, item in {"version": 2, "count": 1}.items() if name != missing}
        with pytest.raises(DefinitionError, match=f"The outer thing has no '{missing}'"):
            Outer.from_json(value)

    def test_no_object(self) -> None:
        with pytest.raises(DefinitionError, match=r"The outer thing is \[\], not an object"):
            Outer.from_json([])

    def test_what_others_read_is_left_alone(self) -> None:
        assert Shared.from_json({"name": "a", "more": 1}) == Shared(name="a")

    def test_what_has_no_json_form(self) -> None:
        with pytest.raises(DefinitionError, match=r"The options of outer thing\['a'\] holds"):
            Outer(count=1, options={"a": object()}).to_json()
        with pytest.raises(TypeError, match="Path'> has no JSON form"):
            Hopeless.from_json({"path": "/a"})
