"""Read YAML as data: plain values, with the line of each, and nothing that a file could do to the reader.

The scalars are those of YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema): `no`, `12:30:00` and
`017` are not what they were in YAML 1.1. Tags construct nothing. Anchors and merge keys work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from airflow_provider_caf.core.errors import DefinitionError

MAX_BYTES = 1_000_000
MAX_NODES = 100_000
MAX_DEPTH = 50
_TOO_DEEP = f"It is nested more than {MAX_DEPTH} levels deep."

_HALVES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_PREFIX = "tag:yaml.org,2002:"
_AROUND = 2

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Way = tuple[Any, ...]
"""How to come to a value: the words and numbers on the way."""


class _Loader(_Base):  # type: ignore[misc]
    """PyYAML's safe loader with the scalars of YAML 1.2; only its composer is used."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}


for _kind, _form, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_PREFIX + _kind, re.compile(rf"^(?:{_form})$"), _first)


class Source:
    """The text of a definition file, and where in it each value stands.

    :param path: of the file, for messages.
    :raises DefinitionError: if it is no YAML that can be taken as data.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._lines = text.splitlines()
        self._places: dict[Way, tuple[int, int]] = {}
        self._nodes = 0
        self.value = self._read(text)

    def fail(
        self, what: str, hint: str | None, place: tuple[int, int] | None = None, *, where: Way = ()
    ) -> DefinitionError:
        """Return an error, where a line and column are known, counted from 0, with the lines around them."""
        number = None if place is None else place[0] + 1
        excerpt = "" if place is None else cut_excerpt(self._lines, *place)
        return DefinitionError(what, hint=hint, file=str(self.path), line=number, excerpt=excerpt, where=where)

    def locate(self, error: DefinitionError, way: Way) -> DefinitionError:
        """Return an error of the content with its file, line and excerpt.

        :param way: to the value in question; as far as it leads.
        """
        while way and way not in self._places:
            way = way[:-1]
        return self.fail(error.what, error.hint, self._places.get(way, (0, 0)), where=error.where)

    def _read(self, text: str) -> Any:
        loader = _Loader(text)
        try:
            self._check_events(text)
            node = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            raise self._translate(error) from None
        except yaml.YAMLError as error:
            raise self.fail(f"This is no YAML: {error}.", None) from None
        finally:
            loader.dispose()
        if node is None:
            raise self.fail("There is nothing in this file.", "Begin with `name:`; see `airflow caf new`.")
        return self._convert(node, (), ())

    def _check_events(self, text: str) -> None:
        """Refuse tags, and deep nesting before libyaml builds a tree of it: that would end the process."""
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            if getattr(event, "tag", None) is not None:
                # The tree does not tell `!!bool x` from `true`.
                raise self._refuse_tag(event)
            if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                depth += 1
                if depth > MAX_DEPTH:
                    raise self.fail(_TOO_DEEP, "Flatten it.", _locate(event))
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                depth -= 1

    def _translate(self, error: yaml.MarkedYAMLError) -> DefinitionError:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or str(error)).strip()
        hint = None
        if mark is not None and mark.line < len(self._lines) and "\t" in self._lines[mark.line]:
            hint = "YAML does not allow tabs to indent. Use spaces."
        elif "expected a single document" in (error.context or "") or "another document" in problem:
            hint = "A file holds one definition: take out the line `---`."
        elif "mapping values are not allowed" in problem:
            hint = "Is the line above indented as it should be? A text with ': ' in it needs quotes."
        return self.fail(f"This is no YAML: {problem}.", hint, None if mark is None else (mark.line, mark.column))

    def _convert(self, node: Any, way: Way, above: tuple[int, ...]) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            hint = "Shorten it: name files by patterns, or put them into a file map."
            raise self.fail(f"It has more than {MAX_NODES} values, its anchors followed.", hint, _locate(node))
        if id(node) in above:
            raise self._refuse_circle(node)
        if len(above) > MAX_DEPTH:
            raise self.fail(_TOO_DEEP, "Flatten it.", _locate(node))
        self._places.setdefault(way, _locate(node))
        if isinstance(node, yaml.ScalarNode):
            return self._convert_scalar(node)
        if node.tag not in (_PREFIX + "map", _PREFIX + "seq"):
            raise self._refuse_tag(node)
        if isinstance(node, yaml.SequenceNode):
            return [self._convert(item, (*way, index), (*above, id(node))) for index, item in enumerate(node.value)]
        return self._convert_mapping(node, way, (*above, id(node)))

    def _convert_mapping(self, node: Any, way: Way, above: tuple[int, ...]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _PREFIX + "merge":
                merged = {**self._merge(value_node, way, above), **merged}
                continue
            key = self._convert(key_node, (*way, "a word"), above)
            self._places.pop((*way, "a word"), None)
            if not isinstance(key, str):
                hint = "Put it in quotes if it is meant as one."
                raise self.fail(f"The word {key!r} is no text.", hint, _locate(key_node))
            if key in own:
                raise self.fail(f"The word {key!r} stands here twice.", "Keep one.", _locate(key_node))
            self._places[(*way, key)] = _locate(key_node)
            own[key] = self._convert(value_node, (*way, key), above)
        return {**merged, **own}

    def _merge(self, node: Any, way: Way, above: tuple[int, ...]) -> dict[str, Any]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for mapping in nodes:
            if not isinstance(mapping, yaml.MappingNode):
                raise self.fail("Only a mapping can be merged.", "Name the anchor of one.", _locate(mapping))
            if id(mapping) in above:
                raise self._refuse_circle(mapping)
            # The first of several wins, as YAML's merge key says.
            merged = {**self._convert_mapping(mapping, way, (*above, id(mapping))), **merged}
        return merged

    def _convert_scalar(self, node: Any) -> Any:
        text, kind = node.value, node.tag.removeprefix(_PREFIX)
        if kind == "str" or (kind == "merge" and node.style is not None):
            if "\0" in text:
                raise self.fail("A text has a zero byte in it.", "Take it out.", (node.start_mark.line, 0))
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind in ("int", "float"):
            return self._convert_number(node, kind)
        raise self._refuse_tag(node)

    def _convert_number(self, node: Any, kind: str) -> int | float:
        text = node.value
        try:
            if kind == "float":
                number = float(text.replace(".inf", "inf").replace(".nan", "nan").lower())
                if number - number == 0:
                    return number
                raise ValueError
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        except ValueError:
            raise self.fail(f"{text[:40]!r} is no finite number.", "Write digits.", _locate(node)) from None

    def _refuse_circle(self, node: Any) -> DefinitionError:
        return self.fail("An anchor holds itself.", "Write out what is meant.", _locate(node))

    def _refuse_tag(self, node: Any) -> DefinitionError:
        return self.fail(
            f"The tag {node.tag.replace(_PREFIX, '!!')!r} is not allowed.",
            "A definition is data. What needs code is written in a Python file.",
            _locate(node),
        )


def _locate(node: Any) -> tuple[int, int]:
    """Return the line and the column in which a node or an event begins, counted from 0."""
    return node.start_mark.line, node.start_mark.column


def cut_excerpt(lines: Sequence[str], line: int, column: int | None = None) -> str:
    """Return a line of a file, counted from 0, with those around it and a mark below its column where one is given."""
    first, last = max(0, line - _AROUND), min(len(lines), line + _AROUND + 1)
    width = len(str(last))
    shown = []
    for number in range(first, last):
        mark = ">" if number == line else " "
        text = "".join(letter if letter.isprintable() else " " for letter in lines[number][:200])
        shown.append(f"  {mark} {number + 1:>{width}} | {text}")
        if number == line and column is not None:
            shown.append(f"    {' ' * width} | {' ' * min(column, 200)}^")
    return "\n".join(shown)


def read_source(path: Path) -> Source:
    """Read a YAML or JSON file.

    :raises DefinitionError: if it cannot be read or taken as data.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DefinitionError(
                f"The file has {size} bytes, and {MAX_BYTES} are the most that a definition may have.",
                hint="Name files by patterns, or put them into a file map: airflow caf filemap.",
                file=str(path),
            )
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise DefinitionError(f"It cannot be read: {error.strerror}.", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise DefinitionError(f"It is no UTF-8 text: {error.reason} at byte {error.start}.", file=str(path)) from error
    if path.suffix == ".json":
        text = _check_json(path, text)
    return Source(path, text)


def _check_json(path: Path, text: str) -> str:
    """Check that a text is JSON, and return it in a form that is YAML as well."""
    import json

    def refuse(constant: str) -> None:
        raise DefinitionError(f"{constant} is no JSON.", hint="Use null or a finite number.", file=str(path))

    try:
        value = json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise DefinitionError(f"This is no JSON: {error.msg}.", file=str(path), line=error.lineno) from None
    except RecursionError:
        raise DefinitionError(_TOO_DEEP, file=str(path)) from None
    if not isinstance(value, Mapping):
        raise DefinitionError("A definition is an object.", hint='Begin with {"name": …}.', file=str(path))
    # A tab can only stand between values in JSON, where YAML wants a space. JSON writes a letter beyond 16 bits as two
    # halves, which YAML does not know.
    return _HALVES.sub(lambda match: json.loads(f'"{match[0]}"'), text.replace("\t", " "))
