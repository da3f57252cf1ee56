"""YAML as data: what the scalars are, where everything stands, and what a file cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.yaml_reader import MAX_BYTES, Source, read_source

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    lambda items: st.lists(items, max_size=4) | st.dictionaries(st.text("abcXYZ_ -", max_size=8), items, max_size=4),
    max_leaves=20,
)


def read(text: str) -> Any:
    return Source(Path("/x.yaml"), text).value


def refuse(text: str) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        read(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", "no"),
        ("a: Yes", "Yes"),
        ("a: on", "on"),
        ("a: true", True),
        ("a: False", False),
        ("a: 12:30:00", "12:30:00"),
        ("a: 017", 17),
        ("a: 0x1F", 31),
        ("a: 0o17", 15),
        ("a: 1_000", "1_000"),
        ("a: -5", -5),
        ("a: 1.5e3", 1500.0),
        ("a: 8.10", 8.1),
        ("a: 2026-11-27", "2026-11-27"),
        ("a: ~", None),
        ("a:", None),
        ("a: '5'", "5"),
        ("a: <<", "<<"),
        ("a: {b: [1, x]}", {"b": [1, "x"]}),
        ("a: |\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    if text == "a: <<":
        assert read("a: '<<'") == {"a": value}
    else:
        assert read(text) == {"a": value}


def test_anchors_and_merge_keys_work() -> None:
    text = """
    one: &one {a: 1, b: 2}
    two: {<<: *one, b: 3}
    three: {b: 4, <<: [*one, {a: 9, c: 5}]}
    four: *one
    """
    assert read(text) == {
        "one": {"a": 1, "b": 2},
        "two": {"a": 1, "b": 3},
        # Of several the first one wins, and what is written out wins over all.
        "three": {"a": 1, "b": 4, "c": 5},
        "four": {"a": 1, "b": 2},
    }


@given(st.dictionaries(st.text("abcXYZ_", min_size=1), plain))
def test_json_is_read_as_json(value: dict[str, Any]) -> None:
    assert read(json.dumps(value, ensure_ascii=False)) == value


def test_letters_beyond_16_bits_may_be_escaped_in_json(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"a": "𐀀é"}))
    assert read_source(file).value == {"a": "𐀀é"}


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("a: !!python/object/apply:os.system [id]", "The tag '!!python/object/apply:os.system' is not allowed", 1),
        ("a: 1\nb: !mine {}", "The tag '!mine' is not allowed", 2),
        ("a: !!binary aGk=", "The tag '!!binary' is not allowed", 1),
        ("a: !!set {x}", "The tag '!!set' is not allowed", 1),
        ("a: !!bool maybe", "The tag '!!bool' is not allowed", 1),
        ("a: !!null something", "The tag '!!null' is not allowed", 1),
        ("a: !!map {b: 1}", "The tag '!!map' is not allowed", 1),
        ("a: ! 5", "The tag '!' is not allowed", 1),
        ("a: 1\nb: 2\na: 3", "The word 'a' stands here twice", 3),
        ("a: {b: 1,\n    b: 2}", "The word 'b' stands here twice", 2),
        ("a:\n\tb: 1", "This is no YAML", 2),
        ("a: &x\n  b: *x", "An anchor holds itself", 1),
        ("a: &x\n  - *x", "An anchor holds itself", 1),
        ("a: &x {b: 1}\nc: &y {<<: *y}", "An anchor holds itself", 2),
        ("a: {<<: 3}", "Only a mapping can be merged", 1),
        ("a: *unknown", "This is no YAML", 1),
        ("a: 1\n---\nb: 2", "This is no YAML", 2),
        ("", "There is nothing in this file", None),
        ("# only a comment", "There is nothing in this file", None),
        ("1: a", "The word 1 is no text", 1),
        ("true: a", "The word True is no text", 1),
        ("[1]: a", "The word [1] is no text", 1),
        ("a: .nan", "'.nan' is no finite number", 1),
        ("a: -.inf", "'-.inf' is no finite number", 1),
        ("a: 1e999", "'1e999' is no finite number", 1),
        ('a: "x\\0"', "A text has a zero byte in it", 1),
        ("a: {b: 1", "This is no YAML", None),
        ("a: b: c", "This is no YAML: mapping values are not allowed", 1),
    ],
)
def test_what_is_no_data_is_refused_with_its_line(text: str, what: str, line: int | None) -> None:
    error = refuse(text)
    assert error.what.startswith(what)
    assert line is None or error.line == line


def test_a_tab_and_a_second_document_have_a_hint() -> None:
    assert "Use spaces" in str(refuse("a:\n\tb: 1").hint)
    assert "one definition" in str(refuse("a: 1\n---\nb: 2").hint)


def test_a_small_file_cannot_become_a_large_value() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]" for number in range(1, 10)]
    assert "more than 100000 values, its anchors followed" in refuse("\n".join(lines)).what
    merged = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 9))]
    assert "more than 100000 values" in refuse("\n".join(merged)).what


def test_deep_nesting_is_refused() -> None:
    assert "nested more than 50 levels" in refuse("a: " + "[" * 60 + "]" * 60).what
    assert "nested more than 50 levels" in refuse("a: " + "[" * 50_000 + "]" * 50_000).what


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text("a:\n" + "- /data/file.root\n" * 600_000)
    with pytest.raises(DefinitionError, match=f"and {MAX_BYTES} are the most") as caught:
        read_source(file)
    assert "file map" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.yaml", b"a: \xff", "no UTF-8 text"),
        ("a.yaml", b"a: x\0y", "This is no YAML: .*control characters are not allowed"),
        ("a.json", b'{"a": NaN}', "NaN is no JSON"),
        ("a.json", b'{"a": -Infinity}', "-Infinity is no JSON"),
        ("a.json", b'{"a": "x\\u0000y"}', "A text has a zero byte in it"),
        ("a.json", b'{"a": 1,}', "This is no JSON"),
        ("a.json", b"[1]", "A definition is an object"),
        ("a.json", b'{"a": 1, "a": 2}', "stands here twice"),
        ("a.json", b"", "This is no JSON"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(DefinitionError, match=what) as caught:
        read_source(file)
    assert caught.value.file == str(file)


def test_json_may_be_indented_by_tabs(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{\n\t"a":\t[1,\n\t\t2]\n}')
    source = read_source(file)
    assert source.value == {"a": [1, 2]}
    assert source.locate(DefinitionError("x"), ("a", 1)).line == 3


def test_an_error_shows_the_lines_around_it() -> None:
    source = Source(Path("/x.yaml"), "a: 1\nb:\n  c: 2\n  d:\n    - 3\n    - 4\ne: 5\n")
    error = source.locate(DefinitionError("wrong", hint="mend it"), ("b", "d", 1))
    assert str(error) == (
        "/x.yaml:6: wrong\n  hint: mend it\n"
        "    4 |   d:\n    5 |     - 3\n  > 6 |     - 4\n      |       ^\n    7 | e: 5"
    )
    # As far as the way leads.
    assert source.locate(DefinitionError("wrong"), ("b", "nowhere", 1)).line == 2
    assert source.locate(DefinitionError("wrong"), ()).line == 1


def test_control_characters_of_a_file_do_not_reach_the_terminal() -> None:
    error = Source(Path("/x.yaml"), "a: 1 # \u202e\u200bevil").locate(DefinitionError("x"), ("a",))
    assert "\u202e" not in str(error)
    assert "control characters are not allowed" in refuse('a: 1 # "\u009b31m"').what
