"""Make the code of a function travel with a job: its module, or its own text where the module is a DAG file.

A DAG file imports Airflow and builds DAGs, so no job can import it. The text of a function is enough where the function
imports all it uses itself; what does not is found out here and not on a farm.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import symtable
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.files import write_text
from airflow_provider_caf.core.record import record

_HINT = "A job gets the text of the function alone: import and define within it all that it uses."
_DAG_MODULE = "unusual_prefix_"
"""With it Airflow begins the names of the modules that it makes of DAG files."""


@record
class FunctionCode:
    """A function that can travel.

    :param reference: `module:name`, where its module can; empty: only its text can.
    :param text: a Python file with the function alone.
    """

    name: str
    reference: str = ""
    text: str = ""

    def write(self, folder: Path) -> str:
        """Write the text, if the function travels by it, and return the reference of the function."""
        if self.reference:
            return self.reference
        file = folder / "task_function.py"
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, self.text)
        return f"{file}:{self.name}"


def read_function(function: Callable[..., Any]) -> FunctionCode:
    """Return the code of a function.

    :raises DefinitionError: if a job could not call it: a lambda, a generator, a coroutine, one that uses what is
        around it.
    """
    if not inspect.isfunction(function):
        raise DefinitionError(f"{function!r} is no function.", hint="Write it with `def`.")
    name = function.__name__
    if not name.isidentifier():
        raise DefinitionError("A lambda cannot run as a job.", hint="Write it with `def`.")
    for is_kind, kind in (
        (inspect.iscoroutinefunction(function), "asynchronous"),
        (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function), "a generator"),
    ):
        if is_kind:
            raise DefinitionError(
                f"The function {name!r} is {kind}.", hint="A job runs an ordinary function, which returns a value."
            )
    try:
        node, text = _read_definition(function)
    except (OSError, TypeError, SyntaxError) as error:
        raise DefinitionError(f"The text of the function {name!r} cannot be read: {error}.", hint=_HINT) from error
    is_importable = function.__qualname__ == name and not node.decorator_list
    if is_importable and not function.__module__.startswith(_DAG_MODULE) and function.__module__ != "__main__":
        return FunctionCode(name=name, reference=f"{function.__module__}:{name}")
    strangers = sorted({*function.__code__.co_freevars, *_find_strangers(text, name)})
    if strangers:
        raise DefinitionError(f"The function {name!r} uses {', '.join(strangers)} from around it.", hint=_HINT)
    return FunctionCode(name=name, text=text)


def _read_definition(function: Callable[..., Any]) -> tuple[ast.FunctionDef, str]:
    """Return a function as it stands in its file, and the text of a file with it alone.

    Its decorators that make a task of it are left out.
    """
    lines = inspect.getsource(function).splitlines()
    if lines[0][:1].isspace():
        # Texts of several lines may stand further to the left than the function: it cannot be moved there, too.
        lines = ["if True:", *lines]
    (node,) = ast.parse("\n".join(lines)).body
    if isinstance(node, ast.If):
        (node,) = node.body
    if not isinstance(node, ast.FunctionDef):
        raise TypeError("it does not begin with `def`")
    begin = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    kept = [decorator for decorator in node.decorator_list if not _makes_task(decorator)]
    above = [line for decorator in kept for line in lines[decorator.lineno - 1 : decorator.end_lineno]]
    text = [*lines[:begin], *above, *lines[node.lineno - 1 :]]
    return node, "\n".join(["from __future__ import annotations", "", *text, ""])


def _makes_task(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (isinstance(called, ast.Attribute) and called.attr == "batch") or (
        isinstance(called, ast.Name) and called.id == "batch_task"
    )


def _find_strangers(text: str, name: str) -> Iterator[str]:
    """Find the names that a file with one function uses and neither it nor Python has."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        # No annotation is evaluated, as the file says at its top.
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
    tables = [symtable.symtable(ast.unparse(tree), name, "exec")]
    known = {name, "annotations", "__name__", "__file__", *vars(builtins)}
    for table in tables:
        tables += table.get_children()
        for symbol in table.get_symbols():
            is_free = symbol.is_global() or (table.get_type() == "module" and not symbol.is_assigned())
            if is_free and symbol.is_referenced() and symbol.get_name() not in known:
                yield symbol.get_name()
