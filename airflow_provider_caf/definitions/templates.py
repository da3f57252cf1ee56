"""Fill in the templates of a definition with what a run was given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jinja2

from airflow_provider_caf.core.errors import DefinitionError

_ALONE = re.compile(r"\s*\{\{((?:(?!\}\}|\{\{).)*)\}\}\s*", re.DOTALL)


def render(value: Any, variables: Mapping[str, Any], environment: jinja2.Environment, where: str = "") -> Any:
    """Fill in all templates in a value.

    A text that is one template alone keeps the type of its value; any other becomes text. What a template gives is
    data: templates in it are not filled in.

    :param where: the way to the value, for the message.
    :raises DefinitionError: if a template cannot be filled in.
    """
    if isinstance(value, str):
        return render_text(value, variables, environment, where) if "{{" in value or "{%" in value else value
    if isinstance(value, Mapping):
        return {
            key: render(item, variables, environment, f"{where}.{key}" if where else str(key))
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [render(item, variables, environment, f"{where}[{index}]") for index, item in enumerate(value)]
    return value


def render_text(text: str, variables: Mapping[str, Any], environment: jinja2.Environment, where: str) -> Any:
    """Fill in one text.

    :raises DefinitionError: if a template in it is wrong, or reads what is not there.
    """
    try:
        alone = _ALONE.fullmatch(text)
        if alone is None:
            return environment.from_string(text).render(variables)
        found = environment.compile_expression(alone[1], undefined_to_none=False)(**variables)
        if isinstance(found, jinja2.Undefined):
            # It says in its message what is not there.
            str(found)
            raise jinja2.UndefinedError(f"{alone[1].strip()} is not defined")
    except jinja2.TemplateError as error:
        raise DefinitionError(
            f"The template {text!r} cannot be filled in{f' in {where}' if where else ''}: {error.message}.",
            hint="Params of the run are `params.x`, expert options `params.expert_config.x`.",
        ) from error
    return found
