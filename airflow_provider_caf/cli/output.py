"""The output of commands: text of a job is shown as text only, errors without a traceback."""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from rich.console import Console, RenderableType
from rich.text import Text

from airflow_provider_caf.core.errors import CafError

EXIT_PROBLEM, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def find_console(*, stderr: bool = False) -> Console:
    """Return the console. What is no terminal gets whole lines without colours, whatever the environment says."""
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, force_terminal=is_terminal, soft_wrap=not is_terminal)


def show_table(table: RenderableType) -> None:
    """Print a table. A line that is longer than the terminal is wide is left to the terminal, so that it is whole."""
    find_console().print(table, soft_wrap=True)


def show_reason(text: str) -> None:
    """Print a text of some words: on a terminal it is broken between them, elsewhere it is one line."""
    find_console().print(Text(clean(text), overflow="fold"))


def show_text(text: str) -> None:
    """Print a text as it is, without what could steer the terminal."""
    sys.stdout.write(clean(text) + "\n")


def clean(text: str) -> str:
    """Replace control characters: the output of a job may be anything."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)


def show_json(value: Any) -> None:
    """Print JSON."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def fail(text: str, code: int = EXIT_PROBLEM) -> NoReturn:
    """End the command with a message."""
    sys.stderr.write(clean(text) + "\n")
    raise SystemExit(code)


def command(function: Callable[[Any], None]) -> Callable[[Any], None]:
    """Show our errors as messages, and end with exit code 1; an interruption is no error of ours."""

    @functools.wraps(function)
    def run(arguments: Any) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A log may have letters that the terminal does not know.
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            function(arguments)
        except CafError as error:
            fail(str(error))
        except KeyboardInterrupt:
            fail("Interrupted.", EXIT_INTERRUPTED)
        except BrokenPipeError:
            # Whoever reads has seen enough, as `head` does.
            sys.stderr.close()

    return run


def ask(question: str, *, yes: bool) -> None:
    """Ask before something is changed.

    :param yes: do not ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        fail("This changes a run. Say --yes where nobody can be asked.", EXIT_USAGE)
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        fail("Nothing was changed.")
