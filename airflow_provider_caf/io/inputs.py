"""Find the input files of a collection, and look at them before a thousand jobs do.

A wrong file is cheapest to find before anything is submitted. So every pattern must match something, and the
header of every local ROOT file is read: that costs one small read a file. Files behind a URI (`root://…`) are
left to the jobs.
"""

from __future__ import annotations

import glob
import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.files import LOCAL_URI, is_uri
from airflow_provider_caf.core.iov import IoV

_SHOWN = 20

_MAGIC = b"root"
_HEADER_BYTES = 64
_SHORTEST_HEADER = 45
_LARGE_FILE_VERSION = 1_000_000

_PROBED = 32
_SLOW_SECONDS_PER_FILE = 0.0005
_THREADS = 16


def resolve_input_files(patterns: Sequence[str], where: str, *, base: Path | None = None) -> tuple[str, ...]:
    """Turn paths, globs and URIs into the sorted list of input files, each once.

    A glob (`*`, `?`, `[…]`, and `**` for any depth) matches files only; hidden files need their dot
    written out. A path that exists is taken literally, whatever characters are in it. A URI such as
    `root://…` is passed through; `file:///…` is a path. `~` is the home folder of the user who runs the
    task. Two links to one file are two files, but a folder that `**` reaches on several ways is read once.

    :param patterns: as written in the definition.
    :param where: whose files they are, for the message: "calibration 'a', collection 'b'".
    :param base: the folder that relative patterns start from; None refuses them, because the folder in which
        a task runs is not chosen by the user.
    :raises InputError: if patterns match nothing, name a folder, or are relative without a base.
    """
    found: set[str] = set()
    problems = [] if patterns else [InputError("there is no pattern", hint="Give the collection input_files.")]
    for pattern in patterns:
        try:
            found.update(_resolve_pattern(pattern, base))
        except InputError as error:
            problems.append(error)
    if problems:
        raise InputError(
            f"The input files of {where} could not be found: {_join_shown([problem.what for problem in problems])}",
            hint=" ".join(dict.fromkeys(str(problem.hint) for problem in problems[:_SHOWN])),
        )
    return tuple(sorted(found))


def check_root_files(paths: Iterable[str], where: str = "the collection") -> int:
    """Read the header of every local file and refuse what cannot be a whole ROOT file.

    URIs are skipped. When the first files are slow to open, as on a network file system, the others are read
    by several threads: they wait for the disk at the same time.

    :param where: whose files they are, for the message.
    :return: how many files were read.
    :raises InputError: if a file is missing, empty, truncated, never closed, no ROOT file, a folder or not
        readable. All such files are counted, the first 20 are named.
    """
    local = [path for path in paths if not is_uri(path)]
    start = time.perf_counter()
    faults = [_find_fault(path) for path in local[:_PROBED]]
    rest = local[_PROBED:]
    if rest and time.perf_counter() - start > _SLOW_SECONDS_PER_FILE * _PROBED:
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="caf-root-header") as pool:
            faults += pool.map(_find_fault, rest)
    else:
        faults += map(_find_fault, rest)
    bad = [f"{path!r} {fault}" for path, fault in zip(local, faults, strict=True) if fault is not None]
    if bad:
        raise InputError(
            f"{len(bad)} of {len(local)} input files of {where} cannot be used: {_join_shown(bad)}",
            hint="Copy or make these files again, or take them out of input_files.",
        )
    return len(local)


def select_files(files: Sequence[str], files_to_iovs: Mapping[str, IoV], requested_iov: IoV | None) -> tuple[str, ...]:
    """Keep the files that may hold data of the requested IoV.

    :param files: paths, in the order in which the selection is given back.
    :param files_to_iovs: the IoV of the data in each file, by its path as written in the definition.
    :param requested_iov: None keeps all files.
    :raises InputError: if an IoV is requested and that of a file is not known.
    """
    if requested_iov is None:
        return tuple(files)
    iovs = {path if is_uri(path) else _normalise(_expand(path)): iov for path, iov in files_to_iovs.items()}
    unknown = [repr(path) for path in files if path not in iovs]
    if unknown:
        raise InputError(
            f"The IoV {requested_iov} is requested, but the runs in {len(unknown)} of {len(files)} input "
            f"files are not known: {_join_shown(unknown)}",
            hint="Give these files an IoV in files_to_iovs, or request no IoV.",
        )
    return tuple(path for path in files if iovs[path].overlaps(requested_iov))


def _resolve_pattern(pattern: str, base: Path | None) -> list[str]:
    """Return the files of one pattern.

    :raises InputError: with a part of a sentence, if there is none.
    """
    if is_uri(pattern):
        return [pattern]
    text = _expand(pattern)
    if "\0" in text or not text:
        raise InputError(f"{pattern!r} is not a path", hint="Write an absolute path, a glob, or a URI such as root://…")
    if not text.startswith("/"):
        if base is None:
            hint = "Write absolute paths, or URIs such as root://…"
            raise InputError(f"{pattern!r} is not an absolute path", hint=hint)
        text = f"{base}/{text}"
    if _is_folder(text):
        raise InputError(f"{pattern!r} is a folder", hint=f"To take its files write {text.rstrip('/') + '/*.root'!r}.")
    files = [_normalise(text)] if os.path.lexists(text) else _match_glob(text)
    if not files:
        raise InputError(f"{pattern!r} matches no file", hint=_describe_nearest_folder(text))
    return files


def _match_glob(pattern: str) -> list[str]:
    # Not Path.glob: its rules for hidden files and links differ from those that people know from the shell.
    matches = glob.iglob(pattern, recursive=True)  # noqa: PTH207
    files = sorted(_normalise(path) for path in matches if not _is_folder(path))
    if "**" not in pattern:
        return files
    # A link to a folder above makes `**` come round again and again, until the system says it is enough.
    real: dict[str, str] = {}
    first: dict[tuple[str, str], str] = {}
    for path in sorted(files, key=lambda path: (path.count("/"), path)):
        folder, name = os.path.split(path)
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        first.setdefault((real[folder], name), path)
    return list(first.values())


def _is_folder(path: str | Path) -> bool:
    # Unlike Path.is_dir it answers False, and does not raise, where a folder above may not be entered.
    return os.path.isdir(path)  # noqa: PTH112


def _expand(path: str) -> str:
    return os.path.expanduser(path.removeprefix(LOCAL_URI))  # noqa: PTH111 - Path would drop a last slash


def _normalise(path: str) -> str:
    # Only what cannot change the meaning: `a/link/../b` is not `a/b`.
    return str(Path(path))


def _describe_nearest_folder(pattern: str) -> str:
    folder = Path(pattern).parent
    while not _is_folder(folder):
        folder = folder.parent
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        return f"The nearest existing folder is {str(folder)!r}, which cannot be listed ({error.strerror})."
    some = ", ".join(repr(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
    return f"The nearest existing folder is {str(folder)!r}, and in it: {some or 'nothing'}."


def _find_fault(path: str) -> str | None:
    """Say what is wrong with a file, or None."""
    try:
        # Non-blocking: opening a FIFO would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return "is missing" if not Path(path).is_symlink() else "is a link to a file that is missing"
    except (OSError, ValueError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            return "is a folder"
        if not stat.S_ISREG(status.st_mode):
            return "is not a file but a device, socket or pipe"
        return find_header_fault(os.read(descriptor, _HEADER_BYTES), status.st_size)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    finally:
        os.close(descriptor)


def find_header_fault(header: bytes, size: int) -> str | None:
    """Say what is wrong with a ROOT file by its first bytes, or None.

    The header is big-endian: `root`, fVersion (4 bytes), fBEGIN (4), fEND, fSeekFree, …; from fVersion
    1 000 000 on, a file that may pass 2 GB, fEND and fSeekFree have 8 bytes instead of 4. A file may be
    longer than fEND. As long as fSeekFree is not behind fBEGIN, the list of free segments, the last thing
    written, is not there: the writer died or still writes. Source: ROOT's description of the file header at
    the top of `io/io/src/TFile.cxx`, and how `TFile::Init` there reads it.

    :param header: the first 64 bytes, or all if there are fewer.
    :param size: the file's size in bytes.
    """
    if size == 0:
        return "is empty"
    if not header.startswith(_MAGIC[: len(header)]):
        return "is not a ROOT file"
    if len(header) < _SHORTEST_HEADER:
        return f"is truncated: it ends after {size} bytes, within its header"
    version, begin = (int.from_bytes(header[at : at + 4], "big") for at in (4, 8))
    width = 8 if version >= _LARGE_FILE_VERSION else 4
    end, free = (int.from_bytes(header[at : at + width], "big", signed=True) for at in (12, 12 + width))
    if not _SHORTEST_HEADER <= begin <= end:
        return f"has a damaged ROOT header (data from byte {begin} to byte {end})"
    if end > size:
        return f"is truncated: it has {size} bytes of {end}"
    if free <= begin:
        return "was never closed: the program that wrote it died, or still writes"
    return None


def _join_shown(items: Sequence[str]) -> str:
    more = f"; and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more + "."
