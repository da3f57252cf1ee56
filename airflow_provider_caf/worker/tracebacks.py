"""Show what the user's code has raised: its own lines, and where in the input it was; no frame of ours."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Callable

import airflow_provider_caf
from airflow_provider_caf.core.errors import CafError

_OURS = os.path.dirname(airflow_provider_caf.__file__) + os.sep  # noqa: PTH120 - it may lie in an archive
_BETWEEN = (f"{os.sep}importlib{os.sep}", f"{os.sep}contextlib.py")
"""Found in the names of Python's own files through which we call the user's code."""

_stop: list[Callable[[BaseException], object]] = []


@contextmanager
def stop_at_errors(function: Callable[[BaseException], object]) -> Iterator[None]:
    """Call a function with what the user's code raises, while its files and objects are still there."""
    _stop.append(function)
    try:
        yield
    finally:
        _stop.clear()


@contextmanager
def call_user() -> Iterator[None]:
    """Run code of the user: what it raises may stop in a debugger."""
    try:
        yield
    except (Exception, SystemExit) as error:
        # Once: the inner one is where it breaks.
        while _stop:
            _stop.pop()(error)
        raise


@contextmanager
def tell_place(file: str, build: Callable[[], str]) -> Iterator[None]:
    """Add to what is raised inside: while reading muons.root, entry 1204, run 11.9, in /data.

    :param file: an error of ours that names it already is left as it is.
    :param build: returns the place in the file, such as `entry 1204, run 11.9`. It is called after the error.
    """
    with call_user():
        try:
            yield
        except (Exception, SystemExit) as error:
            if not (file and isinstance(error, CafError) and file in error.what) and not list_places(error):
                folder, name = os.path.split(file)
                place = f"while reading {name or 'an input without a name'}, {build()}" + (
                    f", in {folder}" if folder else ""
                )
                # As `add_note` does, which Python 3.9 does not have. Some exceptions of C++ take no attributes.
                with contextlib.suppress(AttributeError, TypeError):
                    error.__notes__ = [*getattr(error, "__notes__", ()), place]
            raise


def list_places(error: BaseException) -> list[str]:
    """Return what was said of where the error was raised."""
    return [str(note) for note in getattr(error, "__notes__", ()) if str(note).startswith("while reading ")]


def format_error(error: BaseException) -> str:
    """Return the traceback of an error, and of those that led to it, without frames of ours.

    An error in which there is nothing but those is one of ours, and has them.
    """
    shown = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = shown
    while part is not None:
        own = [frame for frame in part.stack if not is_ours(frame.filename)]
        if own:
            part.stack = traceback.StackSummary.from_list(own)
        part = part.__cause__ or part.__context__
    text = "".join(shown.format())
    notes = getattr(error, "__notes__", ())
    return text if sys.version_info >= (3, 11) else text + "".join(f"{note}\n" for note in notes)


def find_own_frames(error: BaseException) -> TracebackType | None:
    """Return the traceback of an error without frames of ours; all of it if there is nothing else."""
    frames, entry = [], error.__traceback__
    while entry is not None:
        if not is_ours(entry.tb_frame.f_code.co_filename):
            frames.append(entry)
        entry = entry.tb_next
    own: TracebackType | None = None
    for entry in reversed(frames):
        own = TracebackType(own, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return own or error.__traceback__


def is_ours(file: str) -> bool:
    """Return whether a file is of this package, or one of Python's own through which it calls others."""
    return file.startswith((_OURS, "<frozen ")) or any(part in file for part in _BETWEEN)
