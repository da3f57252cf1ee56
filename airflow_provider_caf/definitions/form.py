"""The base of all classes of a definition: strict words, templates, JSON, and errors that name their place.

The classes are pydantic models. A model declares its words once, with type, reader and schema, and a docstring below
each: the Python constructors, YAML and JSON files, the JSON Schema and the reference page all come from that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from airflow_provider_caf.batch.arguments import ARGUMENTS
from airflow_provider_caf.core.errors import DefinitionError, join_definition_errors
from airflow_provider_caf.core.suggestions import build_word_hint, suggest_word
from airflow_provider_caf.definitions.references import build_reference

_F = TypeVar("_F", bound="Form")
_V = TypeVar("_V")

TEMPLATE_SCHEMA = {"type": "string", "pattern": r"\{\{[\s\S]*\}\}"}


class _Mode(NamedTuple):
    """How values are read at the moment.

    :param templates: whether a template may stand for a value. None may any more once a run has filled them in.
    :param nested: whether an outer form is being read, which collects the errors.
    """

    templates: bool = True
    nested: bool = False


_MODE: ContextVar[_Mode] = ContextVar("caf_definition_mode", default=_Mode())  # noqa: B039 - a tuple does not change


@contextmanager
def _reading(**changes: bool) -> Iterator[_Mode]:
    """Change how values are read, and yield how they were read before."""
    before = _MODE.get()
    token = _MODE.set(before._replace(**changes))
    try:
        yield before
    finally:
        _MODE.reset(token)


def is_template(value: Any) -> bool:
    """Return whether a value is a text that Airflow fills in when the task runs."""
    return isinstance(value, str) and "{{" in value


def fill(value: Any, instead: Any) -> Any:
    """Return a value, or what stands for it while it is a template."""
    return instead if is_template(value) else value


def written(**words: Any) -> dict[str, Any]:
    """Return those of the words that were written."""
    return {word: value for word, value in words.items() if value is not None}


def given(value: _V | None) -> _V:
    """Return the value of a word that `resolve` has filled in where the definition does not have it.

    :raises ValueError: if the definition was not resolved.
    """
    if value is None:
        raise ValueError("The definition is not resolved.")
    return value


@dataclass(frozen=True, eq=False)
class Word:
    """A value that has a reader of ours, in an annotation: `Annotated[float, Word(read_seconds, {"type": "number"})]`.

    :param read: gives the value for what a user wrote; it raises `DefinitionError`.
    :param schema: the JSON Schema of what may be written in a file.
    """

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


@contextmanager
def below(*way: str | int) -> Iterator[None]:
    """Put the way to an object in front of the place of a mistake in it."""
    try:
        yield
    except DefinitionError as error:
        raise error.within(*way) from error


class Template:
    """Says in an annotation that a template may stand for the value until a run has filled it in."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._read, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(schema), TEMPLATE_SCHEMA]}

    def _read(self, value: Any, read: Callable[[Any], Any]) -> Any:
        return value if is_template(value) and _MODE.get().templates else read(value)


def _refuse_template(value: Any) -> Any:
    if is_template(value):
        raise DefinitionError(
            f"{value!r} is a template.", hint="The shape of the DAG depends on this value: write it out."
        )
    return value


FIXED = BeforeValidator(_refuse_template)
"""Says in an annotation that no template can stand for the value, because the shape of the DAG depends on it."""

_HINTS = {
    "bool_type": "It has to be true or false.",
    "dict_type": "It has to be a mapping.",
    "greater_than_equal": "It has to be at least {ge}.",
    "int_type": "It has to be a whole number.",
    "less_than_equal": "It has to be at most {le}.",
    "list_type": "It has to be a list.",
    "string_too_short": "It has to be a text.",
    "string_type": "It has to be a text.",
}
"""Kinds of pydantic's errors → what we advise."""
_STRANGER = "unknown_word"
"""Our kind of error for an unknown word; its message is the hint."""


class Form(BaseModel):
    """What one object of a definition says."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", validate_assignment=True, validate_by_alias=True, validate_by_name=True
    )
    noun: ClassVar[str] = "definition"
    """What it is to the reader of an error."""
    elsewhere: ClassVar[tuple[type[Form], ...]] = ()
    """Forms to which a word that this one does not know may belong."""

    def __init__(self, **words: Any) -> None:
        try:
            with _reading(nested=True) as before:
                super().__init__(**words)
        except ValidationError as error:
            explained = _explain_strangers(error, type(self))
            if before.nested:
                raise explained from None
            raise _translate(explained, type(self), words) from None

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise _translate(error, type(self), self.to_json()) from None

    @classmethod
    def from_json(cls: type[_F], value: Any, *, templates: bool = True) -> _F:
        """Read the form that files have.

        :param templates: whether a template may stand for a value.
        :raises DefinitionError: with every mistake found; each has its way in `value` as `where`.
        """
        if not isinstance(value, Mapping):
            raise DefinitionError(
                f"The {cls.noun} is {show_value(value)}, not a mapping of words to values.",
                hint=f"Begin with `name:`. Known words: {', '.join(list_words(cls))}.",
            )
        strangers = [key for key in value if not isinstance(key, str)]
        if strangers:
            raise DefinitionError(f"The {cls.noun} has the word {strangers[0]!r}.", hint="Words have to be texts.")
        with _reading(templates=templates):
            return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Return what was written, in the form that `from_json` reads. Defaults are left out."""
        return {word: _to_json(value) for word, value in {**self.collect_words(), **(self.model_extra or {})}.items()}

    def write_out(self, besides: Iterable[str] = ()) -> None:
        """Count all words as written but some: what a run keeps must not change with a later release's defaults."""
        self.model_fields_set.update(type(self).model_fields)
        self.model_fields_set.difference_update(besides)

    def collect_words(self) -> dict[str, Any]:
        """Return the words that were written, with their values.

        What was changed in place, such as `caf.backend_args["queue"] = "long"`, was written as well.
        """
        return {
            field.alias or name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if name in self.model_fields_set
            or getattr(self, name) != field.get_default(call_default_factory=True, validated_data=self.__dict__)
        }


def list_words(form: type[Form]) -> list[str]:
    """Return the words that a form has."""
    return [field.alias or name for name, field in form.model_fields.items()]


def _to_json(value: Any) -> Any:
    if isinstance(value, Form):
        return value.to_json()
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, type) or callable(value):
        return build_reference(value, "code")
    return value


def _translate(error: ValidationError, form: type[Form], words: Mapping[str, Any]) -> DefinitionError:
    """Return pydantic's errors as ours."""
    mistakes = [_translate_one(dict(mistake), form, words) for mistake in error.errors(include_url=False)]
    return join_definition_errors(mistakes, describe_place(form, words, ()))


def _translate_one(mistake: dict[str, Any], form: type[Form], words: Mapping[str, Any]) -> DefinitionError:
    where = tuple(mistake["loc"])
    original = mistake.get("ctx", {}).get("error")
    if isinstance(original, DefinitionError):
        place = describe_place(form, words, where)
        return DefinitionError(f"In {place}: {original.what}", hint=original.hint, where=(*where, *original.where))
    if mistake["type"] in (_STRANGER, "missing"):
        way, word = where[:-1], str(where[-1])
        owner = describe_place(form, words, way)
        owner = f"{owner[0].upper()}{owner[1:]}"
        if mistake["type"] == "missing":
            return DefinitionError(f"{owner} has no {word!r}.", hint=f"Add {word!r}.", where=way)
        return DefinitionError(f"{owner} has an unknown word {word!r}.", hint=mistake["msg"], where=where)
    place = describe_place(form, words, where)
    hint = _HINTS.get(mistake["type"], f"{mistake['msg']}.").format(**mistake.get("ctx", {}))
    return DefinitionError(f"In {place}: {show_value(mistake['input'])} cannot stand here.", hint=hint, where=where)


def describe_place(form: type[Form], words: Mapping[str, Any], where: tuple[Any, ...]) -> str:
    """Return in words where something stands, such as `input_files of collection 'hits' of calibration 'vertex'`."""
    parts = [_describe_object(form.noun, words.get("name"))]
    value: Any = words
    before = None
    for part in where:
        value = _step_into(value, part)
        if before == "calibrations":
            parts = [_describe_object("calibration", _step_into(value, "name"), part)]
        elif before == "collections":
            parts.insert(0, f"collection {part!r}")
        elif before == "algorithms":
            code = value if isinstance(value, str) else _step_into(value, "algorithm")
            name = _step_into(value, "name") or (code.rpartition(":")[2] if isinstance(code, str) else None)
            parts.insert(0, _describe_object("algorithm", name, part))
        elif part not in ("calibrations", "collections", "algorithms") and isinstance(part, str):
            parts.insert(0, part)
        before = part
    return " of ".join(parts)


def _describe_object(noun: str, name: Any, number: int | None = None) -> str:
    if isinstance(name, str) and name:
        return f"{noun} {name!r}"
    return f"the {noun}" if number is None else f"{noun} number {number + 1}"


def _step_into(value: Any, part: Any) -> Any:
    if isinstance(value, Form):
        return getattr(value, str(part), None)
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None


def _explain_strangers(error: ValidationError, form: type[Form]) -> ValidationError:
    """Return pydantic's errors with a hint at each unknown word, while the form that lacks it is at hand."""
    lines: list[InitErrorDetails] = []
    for mistake in error.errors(include_url=False):
        kind: str | PydanticCustomError = mistake["type"]
        if kind == "extra_forbidden":
            kind = PydanticCustomError(_STRANGER, "{hint}", {"hint": _explain_stranger(str(mistake["loc"][-1]), form)})
        elif kind == _STRANGER:
            kind = PydanticCustomError(_STRANGER, "{hint}", mistake["ctx"])
        ctx = mistake.get("ctx", {})
        lines.append(InitErrorDetails(type=kind, loc=mistake["loc"], input=mistake["input"], ctx=ctx))
    return ValidationError.from_exception_data(error.title, lines)


def _explain_stranger(word: str, form: type[Form]) -> str:
    known = list_words(form)
    if word in ARGUMENTS and suggest_word(word, known) is None:
        return f"{word!r} is an argument of the batch system: put it into backend_args."
    for other in form.elsewhere:
        if word in list_words(other):
            return f"{word!r} is a word of the {other.noun}: put it there."
    return build_word_hint(word, known, "words")


def show_value(value: Any) -> str:
    """Return what a user wrote, as an error shows it."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}…"
