"""How a definition names a class or function of the user: `package.module:Name` or `/path/to/file.py:Name`.

The definition never imports what it names: the class may need software that only a job's machine has.
"""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.reference import parse_reference

_FORM = "Write it as 'package.module:Name' or '/path/to/file.py:Name'."
# Airflow loads a DAG file as a module under such a made-up name; a job could not import it.
_DAG_FILE_PREFIX = "unusual_prefix_"


def build_reference(value: str | type | Callable[..., object], noun: str) -> str:
    """Return the reference of a class or function, or check one that is written out.

    :param value: the class or function itself, or its reference.
    :param noun: what it is to the reader, such as `collector of collection 'hits'`.
    :raises DefinitionError: if it has not the form of a reference, or names something a job could not import.
    """
    if isinstance(value, str):
        # A template is filled in when the task runs, and checked then.
        if "{{" not in value:
            parse_reference(value, noun)
        return value
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None)
    if module is None or name is None:
        raise DefinitionError(f"The {noun} is {value!r}, which is no class or function.", hint=_FORM)
    if module == "__main__" or module.startswith(_DAG_FILE_PREFIX):
        raise DefinitionError(
            f"The {noun} is {name}, which is defined in the DAG file itself. A job cannot import that file.",
            hint=f"Move {name} into a module beside the DAG file and import it from there.",
        )
    if "<" in name:
        raise DefinitionError(
            f"The {noun} is {name}, which is defined inside a function. A job cannot import it.",
            hint="Define it at the top level of a module.",
        )
    return f"{module}:{name}"
