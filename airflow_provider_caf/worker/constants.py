"""Constants that a collector or an algorithm reads and writes: payloads in local databases.

A payload is a ROOT file with one object. Its key is the payload's name for an object of ROOT, as basf2
reads it, and `<name>.json` for a JSON value, which is kept as text in a TObjString. The same content gives
the same bytes, in any folder and at any time: the revision is the MD5 of the bytes, so equal constants are
one file.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.chain import LOCAL, DatabaseEntry
from airflow_provider_caf.core.errors import DatabaseError, DefinitionError, explain_os_error
from airflow_provider_caf.core.file_names import DATABASE_FILE
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.payloads import (
    PayloadEntry,
    build_payload_file_name,
    check_payload_name,
    explain_unreadable,
    find_payload,
    parse_database,
)
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.worker.root import BIG_FILE_VERSION, keep_directory, load_root, open_root_file
from airflow_provider_caf.worker.user_code import build_plain_value

_JSON_SUFFIX = ".json"
_FILE_NAME = "payload.root"
"""The name inside every payload file; it must not depend on where the file is."""

_HEADER_SIZE = 63
_BIG_HEADER_SIZE = 75
"""Bytes of the header of a ROOT file: its magic word, eleven numbers, of which three have 64 bits in a big file, and
its UUID. Source: the class description of TFile."""

_MD5_DIGITS = re.compile(r"[0-9a-f]{32}")


_SHOWN_BYTES = 4096
"""A larger JSON value stays in its file only: the lists of a run hold thousands of values."""


def build_shown_value(value: Any) -> Any:
    """Return the value of a payload for lists and plots, or None for an object of ROOT or a large value."""
    if hasattr(type(value), "__cpp_name__"):
        return None
    plain = build_plain_value(value, "value of a payload")
    return plain if len(json.dumps(plain)) <= _SHOWN_BYTES else None


class ConstantsReader:
    """Find payloads in a database chain, first hit wins, and read them.

    :param chain: where to look, in order. Only local databases can be read here.
    """

    def __init__(self, chain: Iterable[DatabaseEntry]) -> None:
        self._chain = tuple(chain)
        self._known: dict[str, tuple[tuple[int, int, int], tuple[PayloadEntry, ...]]] = {}
        self._checked: set[str] = set()

    @property
    def chain(self) -> tuple[DatabaseEntry, ...]:
        """Where it looks, first hit wins."""
        return self._chain

    def get(self, name: str, run: ExpRun) -> Any:
        """Return the payload that is valid for a run: the JSON value or the object that was saved.

        :raises DatabaseError: if no database of the chain has it, or its file is not as it was written.
        """
        check_payload_name(name)
        path = self.find_file(name, run)
        self._check_bytes(path, name)
        return read_payload(str(path), name)

    def find_file(self, name: str, run: ExpRun) -> Path:
        """Return the file of the payload that is valid for a run.

        :raises DatabaseError: if no database of the chain has it.
        """
        for place in self._chain:
            if place.kind == LOCAL:
                entry = find_payload(self._read_entries(place.value), name, run)
                if entry is not None:
                    return Path(place.value) / entry.file_name
        raise self._build_missing_error(name, run)

    def _read_entries(self, folder: str) -> tuple[PayloadEntry, ...]:
        path = Path(folder) / DATABASE_FILE
        with explain_unreadable(Path(folder)):
            state = path.stat()
            mark = (state.st_ino, state.st_size, state.st_mtime_ns)
            known = self._known.get(folder)
            # The database grows while the algorithms of a pass commit to it: look again when it changed.
            if known is None or known[0] != mark:
                known = self._known[folder] = (mark, parse_database(path.read_text("utf-8"), str(path)))
            return known[1]

    def _check_bytes(self, path: Path, name: str) -> None:
        if str(path) in self._checked:
            return
        hint = "The database names it; copy the whole folder again."
        with explain_os_error(DatabaseError, f"The file {path} of payload {name!r} cannot be read", hint):
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        revision = path.stem.rpartition("_rev_")[2]
        # Databases of others may have revisions that are no digests.
        if _MD5_DIGITS.fullmatch(revision) and digest != revision:
            raise DatabaseError(
                f"The file {path} of payload {name!r} was changed or damaged: its MD5 is {digest}.",
                hint="Copy the whole database again.",
            )
        self._checked.add(str(path))

    def _build_missing_error(self, name: str, run: ExpRun) -> DatabaseError:
        places, there = [], False
        names: set[str] = set()
        for place in self._chain:
            if place.kind == LOCAL:
                entries = self._read_entries(place.value)
                names.update(entry.name for entry in entries)
                there = there or any(entry.name == name for entry in entries)
                places.append(place.value)
            else:
                places.append(f"global tag {place.value!r} (only the experiment's software reads it)")
        if there:
            hint = f"It is there for other runs; commit it with an IoV that holds {run}."
        else:
            hint = build_word_hint(name, names, "payloads in the chain")
        looked = "; ".join(places) if places else "the database chain is empty"
        return DatabaseError(f"There is no payload {name!r} for run {run}. Looked in: {looked}.", hint=hint)


def read_payload(path: str, name: str) -> Any:
    """Read the value or object of a payload file.

    :raises DatabaseError: if it has no such payload.
    """
    root = load_root()
    file = open_root_file(path, f"file of payload {name!r}")
    text = file.Get(name + _JSON_SUFFIX)
    if text:
        value = json.loads(str(text.GetString()))
        file.Close()
        return value
    item = file.Get(name)
    if not item:
        keys = [str(key.GetName()) for key in file.GetListOfKeys()]
        file.Close()
        raise DatabaseError(
            f"The file {path} does not hold payload {name!r}.",
            hint=build_word_hint(name, keys, "objects in it"),
        )
    if isinstance(item, root.TTree):
        # A tree reads from its file as long as it lives.
        item._payload_file = file
        return item
    if hasattr(item, "SetDirectory"):
        item.SetDirectory(root.nullptr)
    root.SetOwnership(item, True)
    file.Close()
    return item


def build_payload(value: Any, name: str) -> bytes:
    """Build the bytes of a payload file.

    :param value: an object of ROOT, or a value that JSON can say (not NaN, keys are texts).
    :raises DefinitionError: if it is neither, or the name is not possible.
    """
    check_payload_name(name)
    root = load_root()
    is_root = hasattr(type(value), "__cpp_name__")
    text = "" if is_root else _build_json(value, name)
    # In memory, so that a full disk is an error of Python and not a line printed by ROOT.
    with keep_directory():
        file = root.TMemFile(f"{_FILE_NAME}?reproducible={_FILE_NAME}", "RECREATE")
        try:
            if not is_root:
                written = file.WriteTObject(root.TObjString(text), name + _JSON_SUFFIX)
            elif isinstance(value, root.TTree):
                file.cd()
                copy = value.CloneTree(-1, "fast")
                copy.SetName(name)
                written = copy.Write("", root.TObject.kOverwrite)
            else:
                written = file.WriteObject(value, name)
            if written <= 0:
                raise DefinitionError(
                    f"Payload {name!r} cannot be written: ROOT cannot store a {type(value).__name__}.",
                    hint="Use a class that ROOT has a dictionary of, or a JSON value.",
                )
            file.Write()
            return _read_memory(file)
        finally:
            file.Close()


def save_payload(value: Any, name: str, folder: Path) -> tuple[str, int]:
    """Write a payload file under its own name and return its revision and its size in bytes.

    :raises DefinitionError: if the value or the name is not possible.
    :raises CafError: if it cannot be written, say because the disk is full; nothing is left then.
    """
    return save_payload_bytes(build_payload(value, name), name, folder)


def save_payload_bytes(data: bytes, name: str, folder: Path) -> tuple[str, int]:
    """Write the bytes of a payload file, as `save_payload` does with a value."""
    revision = hashlib.md5(data, usedforsecurity=False).hexdigest()
    path = folder / build_payload_file_name(name, revision)
    write_bytes(path, data, f"payload {name!r}")
    return revision, len(data)


def _build_json(value: Any, name: str) -> str:
    try:
        plain = build_plain_value(value, f"value of payload {name!r}")
    except DefinitionError as error:
        raise DefinitionError(error.what, hint=f"{error.hint} Or save an object of ROOT.") from error
    return json.dumps(plain, sort_keys=True, allow_nan=False, separators=(",", ":"))


def _read_memory(file: Any) -> bytes:
    size: int = file.GetEND()
    # The file in memory grows by blocks; CopyTo wants room for all of them.
    room: Sequence[int] = array("b", bytes(file.GetSize()))
    file.CopyTo(room, len(room))
    data = bytearray(memoryview(room)[:size])  # type: ignore[arg-type]
    # ROOT leaves the bytes between its header and the first record as it found them in memory.
    is_big = int.from_bytes(data[4:8], "big") >= BIG_FILE_VERSION
    first = int.from_bytes(data[8:12], "big")
    used = _BIG_HEADER_SIZE if is_big else _HEADER_SIZE
    data[used:first] = bytes(first - used)
    return bytes(data)
