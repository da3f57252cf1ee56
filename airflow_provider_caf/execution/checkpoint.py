"""The checkpoint of an algorithm task: what is finished survives the death of everything that finished it.

The records of finished executions lie in Airflow's task state store, or of a job in files (`execution.job`), their
payloads in the staging folder. The store keeps what a task puts there across its retries, and, in Airflow 3.3, across a
clear too. So a clear has to be recognised: it raises the `max_tries` of the task, which a retry does not. We call that
number the *generation*.

==================  ==============================================================================================
key                 value
==================  ==============================================================================================
`checkpoint`        `{"version", "generation", "made_of"}`: whose executions these are; `generation` is null while
                    a fresh run begins
`executions-<n>`    a list of finished executions, see `core.strategies.tickets.Answered`. A new key is begun when
                    one is full, since Airflow warns above 64 kB. A large record stands as
                    `{"file", "sha256"}`, and lies in the checkpoint folder
`keep_executions`   what the next clear does: true keeps the finished executions. It can be edited in Airflow's user
                    interface; each run sets it to what the definition says
==================  ==============================================================================================
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import CheckpointError, DefinitionError
from airflow_provider_caf.core.payloads import build_payload_file_name
from airflow_provider_caf.core.strategies.base import Execution
from airflow_provider_caf.core.strategies.tickets import Answered

log = logging.getLogger(__name__)

HEADER_KEY = "checkpoint"
KEEP_KEY = "keep_executions"

_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FULL = 16 * 1024
"""A list that is longer, in bytes of JSON, is not added to: it is written anew with each execution."""

_LARGE = 8 * 1024
"""A record that is longer goes to a file."""


class TaskState(Protocol):
    """Airflow's task state store, or what stands for it."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""

    def set(self, key: str, value: Any) -> None:
        """Keep a value that JSON can say."""

    def delete(self, key: str) -> None:
        """Forget a value."""


class Start(Enum):
    """How a run begins."""

    FRESH = "fresh"
    RETRY = "retry"
    KEPT = "kept"


class Checkpoint:
    """Keep the finished executions of one algorithm task.

    :param state: the task's own store.
    :param folder: for records that are too large for the store.
    :param staging: where the payloads lie.
    """

    def __init__(self, state: TaskState, folder: Path, staging: Path) -> None:
        self._state = state
        self._folder = folder
        self._staging = staging
        self._chunk: list[Any] = []
        self._chunk_size = 0
        self._number = 0
        self.known: tuple[Answered, ...] = ()
        """The finished executions of an earlier try that are whole."""
        self.damaged = 0
        """How many are not whole: their files are gone, or cut off."""

    def begin(self, generation: int, made_of: str, *, keep: bool) -> Start:
        """Find out what is to be done with what an earlier try left, and read it.

        After `FRESH` the caller clears what else there is, and then calls `accept`.

        :param generation: a number that a clear of the task raises and a retry does not.
        :param made_of: what the executions depend on; if it changed they are worth nothing.
        :param keep: whether a clear keeps the finished executions, unless the store says otherwise.
        :raises CheckpointError: if the store has something there that is not ours.
        """
        header = self._state.get(HEADER_KEY)
        start = self._decide(header, generation, made_of, keep)
        self._header = {"version": _VERSION, "generation": generation, "made_of": made_of}
        if start is Start.FRESH:
            if header is not None:
                # From now on they belong to nobody, also if we are killed before all are gone.
                self._state.set(HEADER_KEY, {**self._header, "generation": None})
            self._forget_all()
        else:
            self.known = tuple(self._read_all())
        self._state.set(KEEP_KEY, keep)
        return start

    def belongs_to(self, generation: int, made_of: str) -> bool:
        """Return whether what is kept is of this generation, and of the same data and definition."""
        header = self._state.get(HEADER_KEY)
        return header is not None and self._decide(header, generation, made_of, False) is Start.RETRY

    def count(self) -> int:
        """Return how many executions and searches for boundaries are finished."""
        number = finished = 0
        while (chunk := self._state.get(_build_key(number))) is not None:
            finished += len(chunk)
            number += 1
        return finished

    def accept(self) -> None:
        """Let what is recorded from now on belong to this generation."""
        self._state.set(HEADER_KEY, self._header)

    def add(self, answered: Answered) -> None:
        """Keep a finished execution. When this returns, a later try finds it."""
        record = answered.to_json()
        text = json.dumps(record)
        if len(text) > _LARGE:
            record = self._write_large(text)
            text = json.dumps(record)
        if self._chunk and self._chunk_size + len(text) > _FULL:
            self._number += 1
            self._chunk, self._chunk_size = [], 0
        self._chunk.append(record)
        self._chunk_size += len(text)
        self._state.set(_build_key(self._number), self._chunk)

    def _decide(self, header: Any, generation: int, made_of: str, keep: bool) -> Start:
        if header is None:
            return Start.FRESH
        if not isinstance(header, dict) or header.get("version") != _VERSION:
            raise CheckpointError(
                f"The task state store has {header!r} under {HEADER_KEY!r}, which this release did not write.",
                hint=f"Delete the key there, or of a job the file in {self._folder}, then clear the task.",
            )
        if header.get("generation") is None:
            return Start.FRESH
        if header.get("made_of") != made_of:
            log.warning(
                "The collected data or the algorithm's definition changed since the executions of the earlier try: "
                "all are done again."
            )
            return Start.FRESH
        if header["generation"] == generation:
            return Start.RETRY
        return Start.KEPT if _read_flag(self._state.get(KEEP_KEY, keep)) else Start.FRESH

    def _forget_all(self) -> None:
        last = 0
        while self._state.get(_build_key(last)) is not None:
            last += 1
        # From the end, so that no hole hides the rest from who is killed here.
        for number in reversed(range(last)):
            self._state.delete(_build_key(number))
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def _read_all(self) -> list[Answered]:
        """Read the records, and leave out those whose files are not whole: a machine may have lost them."""
        found = []
        while (chunk := self._state.get(_build_key(self._number))) is not None:
            self._chunk = self._read_chunk(chunk)
            found.extend(self._chunk)
            self._number += 1
        self._chunk_size = len(json.dumps(self._chunk))
        if self._number:
            self._number -= 1
        answered = []
        for value in found:
            record = self._read_large(value) if "file" in value else value
            answer = None if record is None else _parse(record)
            if answer is not None and self._has_payloads(answer):
                answered.append(answer)
        self.damaged = len(found) - len(answered)
        if self.damaged:
            log.warning(
                "The files of %d of %d finished executions are not whole: these are done again.",
                self.damaged,
                len(found),
            )
        return answered

    def _read_chunk(self, value: Any) -> list[Any]:
        if not isinstance(value, list) or not all(isinstance(record, dict) for record in value):
            raise CheckpointError(
                f"The task state store has something else than finished executions under {_build_key(self._number)!r}.",
                hint="Clear the task for a fresh run.",
            )
        return value

    def _write_large(self, text: str) -> dict[str, str]:
        data = text.encode()
        digest = hashlib.sha256(data).hexdigest()
        self._folder.mkdir(exist_ok=True)
        write_bytes(self._folder / f"{digest}.json", data, durable=False)
        return {"file": f"{digest}.json", "sha256": digest}

    def _read_large(self, value: dict[str, Any]) -> Any:
        digest = str(value.get("sha256"))
        # People can edit the store: what stands there must not become a path.
        if not _SHA256.fullmatch(digest):
            raise CheckpointError(
                f"The task state store names {digest!r} as the checksum of a finished execution.",
                hint="Clear the task for a fresh run.",
            )
        try:
            data = (self._folder / f"{digest}.json").read_bytes()
        except FileNotFoundError:
            return None
        return json.loads(data) if hashlib.sha256(data).hexdigest() == digest else None

    def _has_payloads(self, answered: Answered) -> bool:
        if not isinstance(answered.answer, Execution):
            return True
        for payload in answered.answer.payloads:
            path = self._staging / build_payload_file_name(payload.name, payload.revision)
            try:
                digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            except FileNotFoundError:
                return False
            if digest != payload.revision:
                # It cannot be used, and would stand in the way of a whole one.
                path.unlink()
                return False
        return True


def _build_key(number: int) -> str:
    return f"executions-{number}"


def _parse(value: Any) -> Answered:
    try:
        return Answered.from_json(value)
    except DefinitionError as error:
        raise CheckpointError(
            f"A finished execution in the task state store cannot be read: {error.what}",
            hint="Clear the task for a fresh run.",
        ) from error


def _read_flag(value: Any) -> bool:
    # Airflow's user interface lets people write texts.
    flags = {"true": True, "false": False}
    text = str(value).strip().lower()
    if text not in flags:
        raise CheckpointError(
            f"The task state store has {value!r} under {KEEP_KEY!r}.",
            hint="Write true or false there, and clear again.",
        )
    return flags[text]
