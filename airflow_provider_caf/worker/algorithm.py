"""The base class of algorithms: what makes constants of the collected data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ALWAYS, ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import StagedPayload
from airflow_provider_caf.worker.collected import CollectedData
from airflow_provider_caf.worker.constants import ConstantsReader, save_payload
from airflow_provider_caf.worker.run_objects import check_object_name
from airflow_provider_caf.worker.user_code import (
    apply_settings,
    build_plain_value,
    load_user_class,
    make_user_object,
)

RESERVED = ("runs", "iov", "iteration", "input", "output", "collected_runs", "input_files")
"""Attributes that the framework sets; a definition cannot."""


class Algorithm:
    """Make constants of what was collected for some runs.

    Write `calibrate`. It is called once per execution; a strategy decides for which runs. One object serves
    many executions, so what it keeps in attributes of its own is there at the next one.
    """

    prefix: str | None = None
    """The prefix of the collector whose objects it reads; None: whatever was collected."""

    runs: tuple[ExpRun, ...] = ()
    """The runs of this execution, sorted."""

    iov: IoV = ALWAYS
    """The IoV of this execution; its payloads get it unless they have their own."""

    iteration: int = 0
    """The number of the pass, from 0."""

    collected_runs: tuple[ExpRun, ...] = ()
    """All runs that were collected."""

    input_files: tuple[str, ...] = ()
    """The merged files of its collections."""

    input: Any = None
    """What the strategy hands in for this execution, say the output of another one; None in the built-in ones."""

    output: Any = None
    """What the strategy and the records see of an execution: a dict to fill with what JSON has."""

    _session: AlgorithmSession

    def __new__(cls, *_: Any, **__: Any) -> Algorithm:
        """Make the state here, so that a subclass may forget to call `super().__init__()`."""
        self = super().__new__(cls)
        self._session = AlgorithmSession(f"algorithm {cls.__name__!r}")
        return self

    def calibrate(self) -> ResultCode | int:
        """Make the constants of `self.runs` and say how it went."""
        raise NotImplementedError

    def prepare_boundaries(self, runs: tuple[ExpRun, ...]) -> None:
        """Get ready to be asked for each of these runs, in order, whether a payload begins with it."""

    def is_boundary_required(self, run: ExpRun) -> bool:
        """Tell whether a new payload begins with this run; `get` sees this run only."""
        raise DefinitionError(
            f"The algorithm {type(self).__name__!r} cannot find payload boundaries: it has no "
            "is_boundary_required(run).",
            hint="Write it, or give the strategy's parameter payload_boundaries.",
        )

    def get(self, name: str, *, runs: Iterable[ExpRun] | None = None, prefix: str | None = None) -> Any:
        """Give a collected object, merged over the runs of this execution only.

        :param runs: fewer of these runs.
        :param prefix: where to look, if not in `self.prefix`.
        :raises InputError: if there is no such object, with the names there are.
        """
        chosen = self.runs if runs is None else tuple(ExpRun(*run) for run in runs)
        if not set(chosen) <= set(self.runs):
            other = ", ".join(str(run) for run in sorted(set(chosen) - set(self.runs)))
            raise DefinitionError(
                f"The algorithm {type(self).__name__!r} asks for {name!r} of runs outside of this execution: {other}.",
                hint="Ask for runs in self.runs.",
            )
        return self._session.get(name, chosen, prefix)

    def list_names(self, prefix: str | None = None) -> tuple[str, ...]:
        """Give the names of the collected objects."""
        return self._session.data.list_names(prefix)

    def count_events(self) -> int:
        """Count the collected events of the runs of this execution."""
        return sum(self._session.data.count_events(run) for run in self.runs)

    def save_payload(self, value: Any, name: str, iov: IoV | Sequence[int] | None = None) -> None:
        """Hand in constants. The strategy decides whether they are committed, and with which IoV.

        :param value: an object of ROOT, or a value that JSON can say (not NaN; keys are texts).
        :param iov: an IoV of its own; None: that of the execution.
        :raises DefinitionError: if value, name or IoV cannot be, or the name is used twice for one IoV.
        :raises CafError: if it cannot be written, say because the disk is full.
        """
        self._session.save(value, name, None if iov is None else IoV.from_json(list(iov)))

    def get_payload(self, name: str, exp_run: ExpRun | None = None) -> Any:
        """Read constants: of algorithms before this one, of the last pass, of calibrations it depends on.

        :param exp_run: for which run; None: the first one of this execution.
        :raises DatabaseError: if there are none, with the places looked at.
        """
        run = (self.runs[0] if self.runs else self.iov.low) if exp_run is None else ExpRun(*exp_run)
        return self._session.constants.get(name, run)


def make_algorithm(reference: str, settings: Mapping[str, Any], prefix: str | None) -> Algorithm:
    """Make an algorithm of the user and set its attributes.

    :param prefix: instead of its own, where the definition says so.
    :raises DefinitionError: if it is not there, cannot be made, or has no such setting.
    """
    cls = load_user_class(reference, Algorithm, "algorithm")
    algorithm = make_user_object(cls, reference, "algorithm")
    set_attributes(algorithm, settings)
    if prefix is not None:
        algorithm.prefix = prefix
    if algorithm.prefix is not None:
        check_object_name(algorithm.prefix, f"prefix of the algorithm {cls.__name__!r}")
    if cls.calibrate is Algorithm.calibrate:
        raise DefinitionError(
            f"The algorithm {cls.__name__!r} has no calibrate().", hint="Write it; it gives a ResultCode."
        )
    return algorithm


def set_attributes(algorithm: Algorithm, settings: Mapping[str, Any]) -> None:
    """Set attributes of an algorithm.

    :raises DefinitionError: if it has no such attribute.
    """
    apply_settings(algorithm, settings, RESERVED, f"algorithm {type(algorithm).__name__!r}")


_SHOWN_BYTES = 4096
"""A larger JSON value stays in its file only: the lists of a run hold thousands of values."""


def build_shown_value(value: Any) -> Any:
    """Give the value of a payload for lists and plots, or None for an object of ROOT or a large value."""
    if hasattr(type(value), "__cpp_name__"):
        return None
    plain = build_plain_value(value, "value of a payload")
    return plain if len(json.dumps(plain)) <= _SHOWN_BYTES else None


class AlgorithmSession:
    """What stands behind an algorithm: its data, its constants, and where its payloads go.

    :param what: the algorithm, for messages.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.data = CollectedData((), what=what)
        self.constants = ConstantsReader(())
        self.staging: Path | None = None
        self.payloads: list[StagedPayload] = []
        self._objects: dict[tuple[str, tuple[ExpRun, ...], str | None], Any] = {}

    def get(self, name: str, runs: tuple[ExpRun, ...], prefix: str | None) -> Any:
        """Give a collected object; the same one again until `finish`."""
        key = (name, runs, prefix)
        if key not in self._objects:
            self._objects[key] = self.data.get(name, runs, prefix)
        return self._objects[key]

    def save(self, value: Any, name: str, iov: IoV | None) -> None:
        """Stage a payload."""
        if self.staging is None:
            raise DefinitionError(
                f"The {self.what} saves payload {name!r} outside of an execution.",
                hint="Save in calibrate().",
            )
        if any(each.name == name and each.iov == iov for each in self.payloads):
            raise DefinitionError(
                f"The {self.what} saves payload {name!r} twice with the same IoV.",
                hint="Give each its own IoV, or save the last one only.",
            )
        revision, size = save_payload(value, name, self.staging)
        self.payloads.append(
            StagedPayload(name=name, revision=revision, size=size, iov=iov, value=build_shown_value(value))
        )

    def finish(self) -> None:
        """Free the objects of an execution."""
        self.staging = None
        self._objects.clear()
        self.data.release()
