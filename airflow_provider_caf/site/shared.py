"""Connections that a process opens once, however many triggers, tasks and requests ask for them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_P = TypeVar("_P", bound=Hashable)
_T = TypeVar("_T")


class Shared(Generic[_P, _T]):
    """The connections of this process: one for each place."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self._open: dict[_P, tuple[str, _T]] = {}
        self._inherited: list[dict[_P, tuple[str, _T]]] = []

    def find(self, place: _P, state: str, make: Callable[[], _T]) -> _T:
        """Return the connection to a place, which is opened once.

        :param state: the settings with which it is opened; after a change of them it is opened anew. They may hold a
            password.
        """
        digest = hashlib.sha256(state.encode("utf-8", "surrogateescape")).hexdigest()
        with self._mutex:
            if self._pid != os.getpid():
                # A child of a fork must not speak in its parent's connections, nor close them by dropping them.
                self._inherited.append(self._open)
                self._open, self._pid = {}, os.getpid()
            known = self._open.get(place)
            if known is None or known[0] != digest:
                known = self._open[place] = (digest, make())
            return known[1]
