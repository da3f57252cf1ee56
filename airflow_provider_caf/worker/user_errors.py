"""What the user's code raises: where in the data it happened, and which lines of the user's own led there."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Mapping
from types import TracebackType

import airflow_provider_caf

_PLACE = "_caf_place"
_APP_FOLDER = f"{os.sep}user{os.sep}"


def note_place(error: BaseException, place: str) -> None:
    """Keep with an error where in the data it happened; the innermost place counts.

    :param place: such as `while reading muons.root, entry 1204, run 11.9`.
    """
    if getattr(error, _PLACE, None) is None:
        # A class of the user's may have __slots__; the error is told without its place then.
        with contextlib.suppress(AttributeError, TypeError):
            setattr(error, _PLACE, place)


def describe_with_place(error: BaseException) -> str:
    """Return an error as Python prints it, with its place in the last line."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return _add_place(text, error)


def describe_for_author(error: BaseException, sources: Mapping[str, str]) -> str:
    """Return an error with the lines of the user's code only.

    :param sources: path in the folder `user` of the job app → the file that the author has.
    """
    frames = []
    for frame in traceback.extract_tb(error.__traceback__):
        path = find_source(frame.filename, sources)
        if path is not None:
            frames.append(traceback.FrameSummary(path, frame.lineno, frame.name, line=frame.line, lookup_line=False))
    if not frames:
        return describe_with_place(error)
    lines = ["Traceback (your code only):\n", *traceback.format_list(frames)]
    return _add_place("".join([*lines, *traceback.format_exception_only(type(error), error)]), error)


def find_source(path: str, sources: Mapping[str, str]) -> str | None:
    """Return the author's file of a frame; None: it is ours, or Python's own."""
    before, found, inside = path.rpartition(_APP_FOLDER)
    if found and before.endswith(".pyz"):
        return sources.get(inside, inside)
    ours = os.path.dirname(airflow_provider_caf.__file__)  # noqa: PTH120 - in the app it is no folder of the disk
    return None if path.startswith((ours, "<frozen")) else path


def find_author_traceback(error: BaseException, sources: Mapping[str, str]) -> TracebackType | None:
    """Return the traceback down to the innermost frame of the user's code, for a debugger; None: there is none."""
    found, current = None, error.__traceback__
    while current is not None:
        if find_source(current.tb_frame.f_code.co_filename, sources) is not None:
            found = current
        current = current.tb_next
    return found


def _add_place(text: str, error: BaseException) -> str:
    place = getattr(error, _PLACE, None)
    return text if place is None else f"{text.rstrip()} ({place})\n"
