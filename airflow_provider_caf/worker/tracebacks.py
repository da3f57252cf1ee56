"""Show what the user's code has raised: its own lines, and where in the input it was; no frame of ours."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Callable, TypeVar

import airflow_provider_caf
from airflow_provider_caf.core.errors import CafError

_OURS = os.path.dirname(airflow_provider_caf.__file__) + os.sep  # noqa: PTH120 - it may lie in an archive
_PYTHON = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120 - as above

_T = TypeVar("_T")

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

    Where there is nothing but those, it is an error of ours, and has them.
    """
    shown = traceback.TracebackException.from_exception(error)
    parts = [shown]
    while (earlier := parts[-1].__cause__ or parts[-1].__context__) is not None:
        parts.append(earlier)
    own = [_choose_own(part.stack, lambda frame: frame.filename) for part in parts]
    if any(own):
        last = shown
        for part, frames in zip(parts, own):
            part.stack = traceback.StackSummary.from_list(frames)
            # An earlier one that is ours alone, such as a look into a table, led to what we say of it ourselves.
            if frames and part is not shown:
                last.__cause__, last.__context__ = (part if last.__cause__ else None), part
                last = part
        last.__cause__ = last.__context__ = None
    text = "".join(shown.format()).replace(f"\n{CafError.__module__}.", "\n")
    notes = getattr(error, "__notes__", ())
    return text if sys.version_info >= (3, 11) else text + "".join(f"{note}\n" for note in notes)


def find_own_frames(error: BaseException) -> TracebackType | None:
    """Return the traceback of an error without frames of ours; all of it if there is nothing else."""
    entries, entry = [], error.__traceback__
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    frames = _choose_own(entries, lambda entry: entry.tb_frame.f_code.co_filename)
    own: TracebackType | None = None
    for entry in reversed(frames):
        own = TracebackType(own, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return own or error.__traceback__


def has_own_frames(error: BaseException) -> bool:
    """Return whether an error came through code of the user."""
    stack = traceback.extract_tb(error.__traceback__)
    return bool(_choose_own(stack, lambda frame: frame.filename))


def _choose_own(frames: Iterable[_T], find_file: Callable[[_T], str]) -> list[_T]:
    """Return those of frames, the outermost first, that are the user's.

    What is Python's own belongs to who has called it: we open files and import modules, and so does the user.
    """
    chosen, is_own = [], False
    for frame in frames:
        file = find_file(frame)
        is_python = file.startswith("<frozen ") or (file.startswith(_PYTHON) and "site-packages" not in file)
        is_own = is_own if is_python else not file.startswith(_OURS)
        if is_own:
            chosen.append(frame)
    return chosen
