"""The JSON form of records, read strictly: a missing, unknown or wrong field is an error that names the place.

Records travel as JSON between the tasks of a run. A field that is read loosely there would be a setting without effect.
A `JsonRecord` says with the annotations of its fields how each one is read and written.
"""

from __future__ import annotations

import ast
import math
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.core.suggestions import build_word_hint

_T = TypeVar("_T")
_R = TypeVar("_R", bound="JsonRecord")
_Convert = Callable[[Any, str], Any]

_MAX_DEPTH = 50


def normalise_json(value: Any, where: str) -> Any:
    """Return a copy of a value made of what JSON has: tuples become lists, mappings become dicts.

    :param where: what the value is to the reader, such as `settings of algorithm 'fit'`.
    :raises DefinitionError: if something in it has no JSON form.
    """
    return _normalise(value, where, 0)


def _normalise(value: Any, where: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise DefinitionError(f"The {where} is nested more than {_MAX_DEPTH} levels deep.", hint="Does it hold itself?")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            raise DefinitionError(
                f"The {where} holds {value!r}, which JSON cannot carry.", hint="Use null or a finite number."
            )
        return value
    if isinstance(value, (list, tuple)):
        return [_normalise(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise DefinitionError(
                    f"The {where} has the key {key!r}, which is no text.", hint="Keys have to be strings."
                )
        return {key: _normalise(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}
    raise DefinitionError(
        f"The {where} holds {value!r} of type {type(value).__name__}, which JSON cannot carry.",
        hint="Use null, true, false, numbers, texts, lists and mappings with text keys.",
    )


def _build_reader(accepts: Callable[[Any], bool], wanted: str) -> _Convert:
    """Return the reader of values that are accepted. Others are a `DefinitionError`, with what was wanted."""

    def read(value: Any, where: str) -> Any:
        if not accepts(value):
            raise _wrong_type(value, where, wanted)
        return value

    return read


def _is_number(value: Any, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


read_text = _build_reader(lambda value: isinstance(value, str), "a text")
read_flag = _build_reader(lambda value: isinstance(value, bool), "true or false")
read_whole_number = _build_reader(lambda value: _is_number(value, int), "a whole number")
read_number = _build_reader(lambda value: _is_number(value, int, float) and math.isfinite(value), "a number")
"""A finite one."""


def read_object(value: Any, where: str) -> dict[str, Any]:
    """Read an object whose fields are the user's own.

    :raises DefinitionError: if it is something else, or holds what JSON cannot carry.
    """
    if not isinstance(value, Mapping):
        raise _wrong_type(value, where, "a mapping of names to values")
    normalised: dict[str, Any] = normalise_json(value, where)
    return normalised


def read_list(read: Callable[[Any, str], _T]) -> Callable[[Any, str], tuple[_T, ...]]:
    """Return the reader of a list whose items are read by `read`."""

    def read_items(value: Any, where: str) -> tuple[_T, ...]:
        if not isinstance(value, (list, tuple)):
            raise _wrong_type(value, where, "a list")
        try:
            return tuple([read(item, where) for item in value])
        except DefinitionError:
            # Only an error needs the place of each item: there are thousands.
            return tuple(read(item, f"item {index} of {where}") for index, item in enumerate(value))

    return read_items


def read_optional(read: Callable[[Any, str], _T]) -> Callable[[Any, str], _T | None]:
    """Return the reader of a value that may be null."""

    def read_value(value: Any, where: str) -> _T | None:
        return None if value is None else read(value, where)

    return read_value


def read_with(parse: Callable[[Any], _T]) -> Callable[[Any, str], _T]:
    """Return the reader that adds the place to the error of a `from_json`."""

    def read_value(value: Any, where: str) -> _T:
        try:
            return parse(value)
        except DefinitionError as error:
            raise DefinitionError(f"In {where}: {error.what}", hint=error.hint) from error

    return read_value


def build_json(values: Iterable[Any]) -> list[Any]:
    """Return the JSON form of records."""
    return [value.to_json() for value in values]


class JsonRecord:
    """A record with a JSON form: an object with its fields, in their order.

    A field without a default has to be in the object. The annotation of a field says its form: `str`, `bool`, `int`,
    `float`, `Any`, `X | None`, `tuple[X, ...]`, `Mapping[str, X]`, a class with `from_json` and `to_json`, or
    `Annotated[X, read]` where `read` gets the value and what it is to the reader.
    """

    __slots__ = ()

    noun: ClassVar[str] = "record"
    """What it is to the reader of an error; its name is added where it has one."""
    version: ClassVar[int | None] = None
    """Stands in the object, and has to be what is read."""
    version_error: ClassVar[type[CafError]] = DefinitionError
    version_hint: ClassVar[str] = "Was it written by a newer release?"
    """What to do about another version."""
    short_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that are left out where they are empty or None."""
    left_out: ClassVar[tuple[str, ...]] = ()
    """Fields that are no part of the form."""
    is_shared: ClassVar[bool] = False
    """Whether others read further fields of the same object, which are left alone then."""

    def to_json(self) -> dict[str, Any]:
        """Return the form that `from_json` reads.

        :raises DefinitionError: if a value has no JSON form.
        """
        return self.build_fields()

    @classmethod
    def from_json(cls: type[_R], value: Any, where: str | None = None) -> _R:
        """Read the form that `to_json` gives.

        :param where: what it is to the reader, instead of its noun and name.
        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        value = cls.translate(value)
        if where is None:
            where = _name_place(cls.noun, value.get("name") if isinstance(value, Mapping) else None)
        if not isinstance(value, Mapping):
            raise DefinitionError(
                f"The {where} is {value!r}, not an object.", hint="Write a mapping of names to values."
            )
        plan = _plan(cls)
        if cls.version is not None:
            _check_version(cls, value, where)
        given: dict[str, Any] = {}
        for name, form, is_required in plan:
            if name in value:
                item = value[name]
                given[name] = item if type(item) is form.exact else form.read(item, f"{name!r} of the {where}")
            elif is_required:
                raise _missing(name, where)
        if not cls.is_shared and len(value) > len(given) + (cls.version is not None):
            known = [*([] if cls.version is None else ["version"]), *(field.name for field in plan)]
            unknown = next(name for name in value if name not in known)
            raise DefinitionError(
                f"The {where} has an unknown field {unknown!r}.", hint=build_word_hint(str(unknown), known, "fields")
            )
        return cls(**given)

    @classmethod
    def translate(cls, value: Any) -> Any:
        """Return the form of `to_json` for another one that is to be read as well; any other value as it is."""
        return value

    def build_fields(self, *, besides: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the form of `to_json` without the fields that stand elsewhere."""
        cls = type(self)
        value: dict[str, Any] = {} if cls.version is None else {"version": cls.version}
        for name, form, _ in _plan(cls):
            if name in besides:
                continue
            item = getattr(self, name)
            if item is None or form.build is None:
                value[name] = item
                continue
            try:
                value[name] = form.build(item, name)
            except DefinitionError:
                value[name] = form.build(item, f"{name} of {_name_place(cls.noun, getattr(self, 'name', None))}")
        for name in cls.short_fields:
            if not value[name]:
                del value[name]
        return value


class _Form(NamedTuple):
    """How values of a type are read and written.

    :param exact: the type whose values are taken as they are; None: `read` looks at every one.
    :param build: None: values are written as they are.
    """

    read: _Convert
    build: _Convert | None = None
    exact: type | None = None


class _Field(NamedTuple):
    name: str
    form: _Form
    is_required: bool


def _check_version(cls: type[JsonRecord], value: Mapping[str, Any], where: str) -> None:
    if "version" not in value:
        raise _missing("version", where)
    found = read_whole_number(value["version"], f"'version' of the {where}")
    if found != cls.version:
        what = f"The {where} has version {found}, this program knows {cls.version}."
        raise cls.version_error(what, hint=cls.version_hint)


_PLANS: dict[type, tuple[_Field, ...]] = {}


def _plan(cls: type[JsonRecord]) -> tuple[_Field, ...]:
    """Return how the fields of a record are read and written, found out once."""
    if cls in _PLANS:
        return _PLANS[cls]
    own = [field for field in fields(cls) if field.name not in cls.left_out]  # type: ignore[arg-type]
    texts = {field.name: ast.unparse(_Unions().visit(ast.parse(str(field.type), mode="eval"))) for field in own}
    # The annotations stand in the module of the class.
    holder = type(cls.__name__, (), {"__annotations__": texts, "__module__": cls.__module__})
    hints = get_type_hints(holder, localns={"Union": Union}, include_extras=True)
    _PLANS[cls] = tuple(
        _Field(field.name, _find_form(hints[field.name]), field.default is field.default_factory is MISSING)
        for field in own
    )
    return _PLANS[cls]


class _Unions(ast.NodeTransformer):
    """Write `X | Y` as `Union[X, Y]`, which Python 3.9 can evaluate."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        members = ast.Tuple(elts=[node.left, node.right], ctx=ast.Load())
        return ast.Subscript(value=ast.Name(id="Union", ctx=ast.Load()), slice=members, ctx=ast.Load())


def _find_form(hint: Any) -> _Form:
    """Return the form of a type.

    :raises TypeError: if there is none.
    """
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        has_form = any(hasattr(kind, "to_json") for kind in (inner[0], *get_args(inner[0])))
        return _Form(inner[1], _build_by_class if has_form else None)
    if origin in (Union, getattr(types, "UnionType", Union)) and type(None) in inner:
        form = _find_form(Union[tuple(kind for kind in inner if kind is not type(None))])
        return form._replace(read=read_optional(form.read))
    if origin is tuple and inner[1:] == (Ellipsis,):
        return _build_list_form(_find_form(inner[0]))
    if origin in (dict, Mapping) and inner[0] is str:
        return _Form(read_object, normalise_json) if inner[1] is Any else _build_mapping_form(_find_form(inner[1]))
    if hasattr(hint, "from_json"):
        return _Form(read_with(hint.from_json), _build_by_class)
    raise TypeError(f"{hint!r} has no JSON form: no from_json.")


def _build_by_class(value: Any, where: str) -> Any:
    return value.to_json()


def _build_list_form(item: _Form) -> _Form:
    build = item.build
    if build is None:
        return _Form(read_list(item.read), lambda value, where: list(value))
    return _Form(read_list(item.read), lambda value, where: [build(member, where) for member in value])


def _build_mapping_form(item: _Form) -> _Form:
    def read(value: Any, where: str) -> dict[str, Any]:
        return {key: item.read(member, f"{key!r} of {where}") for key, member in read_object(value, where).items()}

    build = item.build
    if build is None:
        return _Form(read, lambda value, where: dict(value))
    return _Form(read, lambda value, where: {key: build(member, where) for key, member in value.items()})


_PLAIN: dict[Any, _Form] = {
    str: _Form(read_text, exact=str),
    bool: _Form(read_flag, exact=bool),
    int: _Form(read_whole_number, exact=int),
    float: _Form(read_number),
    Any: _Form(normalise_json),
}


def _name_place(noun: str, name: Any) -> str:
    return f"{noun} {name!r}" if isinstance(name, str) else noun


def _missing(name: str, where: str) -> DefinitionError:
    return DefinitionError(f"The {where} has no {name!r}.", hint=f"Add {name!r}.")


def _wrong_type(value: Any, where: str, wanted: str) -> DefinitionError:
    return DefinitionError(f"The {where} is {value!r}.", hint=f"It has to be {wanted}.")
