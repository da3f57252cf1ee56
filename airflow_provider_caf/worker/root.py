"""Load ROOT, and open and write its files so that nothing is lost silently.

ROOT prints where others raise: it "recovers" a truncated file, and a disk that runs full costs a line on
stderr and half a file. Every file goes through the two functions of this module, which raise.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.atomic import build_write_error, publish_file, write_all
from airflow_provider_caf.core.errors import CafError, InputError, explain_os_error
from airflow_provider_caf.core.temporary import build_temporary_name

_MAGIC = b"root"
_HEADER_SIZE = 20
BIG_FILE_VERSION = 1_000_000
"""From this version number on, a ROOT file has 64-bit positions in its header."""

_MISREAD = "$#?|"
"""ROOT takes a `$` for a variable, `#` and `?` for parts of a URL, `|` for a member of an archive."""

_RECORDER = """
#include <string>
#include <vector>
#include <TError.h>
namespace airflow_provider_caf {
std::vector<std::string> errors, warnings;
ErrorHandlerFunc_t previous = nullptr;
void record(int level, Bool_t abort, const char *location, const char *text) {
  auto &messages = level >= kError ? errors : warnings;
  if (level >= kWarning && messages.size() < 20) messages.push_back(std::string(location) + ": " + text);
  previous(level, abort, location, text);
}
void start() {
  errors.clear();
  warnings.clear();
  previous = SetErrorHandler(record);
}
void stop() { SetErrorHandler(previous); }
}
"""

_PROBE_SIZE = 1 << 20

_CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL", "SIGSYS")


@cache
def load_root() -> Any:
    """Import ROOT and give the module. It neither reads our command line nor opens windows.

    :raises CafError: if ROOT cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            # ROOT from the package index warns of its own alpha state, once per process.
            warnings.filterwarnings("ignore", r"\s*This distribution of ROOT is in alpha stage", UserWarning)
            import ROOT  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise CafError(
            f"ROOT cannot be imported by {sys.executable}: {error}.",
            hint="Give the site's setup lines that make ROOT known, or use a Python that has it.",
        ) from error
    ROOT.PyConfig.IgnoreCommandLineOptions = True
    ROOT.gROOT.SetBatch(True)
    return ROOT


@cache
def declare(code: str) -> Any:
    """Compile C++ code of ours, once in a process, and return our namespace."""
    root = load_root()
    root.gInterpreter.Declare(code)
    return root.airflow_provider_caf


def crash_plainly() -> None:
    """Let a crash end this process by its signal, with the Python lines on stderr.

    ROOT's own handlers print a stack trace for seconds and then *exit* with 128 + something: what started us
    could not tell a crash from an exit code.
    """
    load_root()
    for name in _CRASHES:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    faulthandler.disable()
    faulthandler.enable(sys.__stderr__ or 2)


def is_remote(path: str) -> bool:
    """Return whether a path is a URI that ROOT opens itself, such as `root://server//file`."""
    scheme, mark, _ = path.partition("://")
    return bool(mark) and scheme.isalnum()


def open_root_file(path: str, what: str = "input file") -> Any:
    """Open a ROOT file for reading.

    :param path: a local path or a URI.
    :param what: what it is to the reader, such as `collector output`.
    :raises InputError: if it is missing, empty, truncated, not closed or not a ROOT file.
    """
    if not is_remote(path):
        check_root_header(path, what)
        check_root_path(path, what)
    root = load_root()
    try:
        file = root.TFile.Open(path, "READ")
    except OSError as error:
        raise InputError(
            f"The {what} {path} cannot be opened: {error}.", hint="What ROOT says is in the log above."
        ) from error
    if not file or file.IsZombie():
        raise InputError(f"The {what} {path} cannot be opened.", hint="What ROOT says is in the log above.")
    root.gROOT.cd()
    if file.TestBit(root.TFile.kRecovered):
        file.Close()
        raise InputError(
            f"The {what} {path} was not closed by the program that wrote it; a part of it is lost.",
            hint="Make the file again, or take it out of the input files.",
        )
    return file


def check_root_path(path: str, what: str) -> None:
    """Refuse a local path that ROOT would read as something else.

    :raises InputError: with the characters to avoid.
    """
    found = [letter for letter in _MISREAD if letter in path]
    if found or is_remote(path):
        raise InputError(
            f"ROOT cannot open the {what} {path!r}: {' '.join(found) or '://'} means something else to it.",
            hint="Rename the file or folder, or make a symbolic link to it with a plain name.",
        )


def check_root_header(path: str, what: str) -> None:
    """Compare the size of a local ROOT file with the size that its header names.

    :raises InputError: if it is missing, a folder, empty, truncated or not a ROOT file.
    """
    hint = "Make the file again, or take it out of the input files."
    missing = f"The {what} {path} does not exist.", "Check the path, and whether the folder is mounted."
    explain = explain_os_error(
        InputError,
        f"The {what} {path} cannot be read",
        "It has to be a file that you may read on this machine.",
        missing=missing,
    )
    with explain, Path(path).open("rb") as stream:
        header = stream.read(_HEADER_SIZE)
        size = os.fstat(stream.fileno()).st_size
    if size == 0:
        raise InputError(f"The {what} {path} is empty (0 bytes).", hint=hint)
    if header[:4] != _MAGIC[: len(header)]:
        raise InputError(f"The {what} {path} is not a ROOT file.", hint="Only ROOT files can be read here.")
    if len(header) < _HEADER_SIZE:
        raise InputError(f"The {what} {path} is truncated: it has {size} bytes only.", hint=hint)
    is_big = int.from_bytes(header[4:8], "big") >= BIG_FILE_VERSION
    expected = int.from_bytes(header[12:20] if is_big else header[12:16], "big")
    if size < expected:
        raise InputError(f"The {what} {path} is truncated: it has {size} bytes, its header says {expected}.", hint=hint)


@contextmanager
def keep_directory(directory: Any = None) -> Iterator[None]:
    """Make a folder ROOT's current one for a while; afterwards it is the memory, where nothing is lost.

    Objects go into the current folder by themselves, and vanish with it.
    """
    if directory is not None:
        directory.cd()
    try:
        yield
    finally:
        load_root().gROOT.cd()


@contextmanager
def record_errors(*, warnings: Callable[[], bool] = lambda: False) -> Iterator[list[str]]:
    """Collect what ROOT reports as an error; it is printed as well.

    Some functions of ROOT give success although they reported that they left something out.

    :param warnings: tells in the end whether warnings are collected, too.
    :returns: the list that is filled when the context ends.
    """
    root = load_root()
    # In C++: a handler written in Python would run in the middle of ROOT's own error handling.
    recorder = declare(_RECORDER)
    recorder.start()
    messages: list[str] = []
    try:
        yield messages
    finally:
        recorder.stop()
        messages.extend(str(text) for text in recorder.errors)
        if warnings():
            messages.extend(str(text) for text in recorder.warnings)
        root.gROOT.cd()


@contextmanager
def write_root_file(path: str, what: str, *, compression: int | None = None) -> Iterator[Any]:
    """Write a ROOT file under a temporary name; it gets its own name when all of it is on disk.

    :param path: where it goes; a file that is there is replaced.
    :param what: what it is to the reader, such as `collector output`.
    :param compression: ROOT's number for algorithm and level; None for its default.
    :raises CafError: if a byte could not be written, say because the disk is full. Nothing is left then.
    """
    root = load_root()
    target = Path(path)
    check_root_path(path, what)
    temporary = build_temporary_path(target)
    try:
        try:
            options = ("RECREATE", "") if compression is None else ("RECREATE", "", compression)
            file = root.TFile.Open(str(temporary), *options)
        except OSError as error:
            raise CafError(
                f"The {what} {path} could not be opened for writing.",
                hint="Check that the folder is there and that you may write into it.",
            ) from error
        try:
            yield file
        except Exception as error:
            file.Close()
            if file.TestBit(root.TFile.kWriteError):
                # Whatever else went wrong, a disk that ran full comes first.
                raise build_write_error(path, what, find_write_errno(temporary)) from error
            raise
        file.Close()
        check_written(file, temporary, path, what)
        publish_file(temporary, target, what)
    finally:
        temporary.unlink(missing_ok=True)


def build_temporary_path(target: Path) -> Path:
    """Return the hidden name beside the target under which it is written."""
    return target.with_name(build_temporary_name(target.name))


def check_written(file: Any, temporary: Path, path: str, what: str) -> None:
    """Find out whether all of a closed ROOT file went to disk.

    :param file: the closed file, as ROOT's object.
    :raises CafError: if it did not.
    """
    size = temporary.stat().st_size if temporary.exists() else 0
    if file.TestBit(load_root().TFile.kWriteError) or size < file.GetEND():
        raise build_write_error(path, what, find_write_errno(temporary))


def find_write_errno(path: Path) -> int:
    """Find out why a write to a file failed, by writing more to it; 0 where that works. ROOT does not keep it."""
    try:
        with path.open("ab", buffering=0) as stream:
            write_all(stream.write, bytes(_PROBE_SIZE))
    except OSError as error:
        return error.errno or 0
    return 0
