"""The base class of algorithms: what makes constants of the collected data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ALWAYS, ExpRun, IoV
from airflow_provider_caf.core.json_form import build_json
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import Monitored, StagedFigure, StagedPayload
from airflow_provider_caf.worker.algorithm.figures import stage_figure
from airflow_provider_caf.worker.collect.collected import CollectedData
from airflow_provider_caf.worker.collect.run_objects import check_object_name
from airflow_provider_caf.worker.constants import ConstantsReader, build_shown_value, save_payload, save_payload_bytes
from airflow_provider_caf.worker.user_code import apply_settings, load_user_class, make_user_object, refuse_arguments

RESERVED = ("runs", "iov", "iteration", "cpus", "input", "output", "collected_runs", "input_files", "output_files")
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

    cpus: int = 1
    """How many CPUs it may use, as the definition says: `ROOT.EnableImplicitMT(self.cpus)`."""

    collected_runs: tuple[ExpRun, ...] = ()
    """All runs that were collected."""

    input_files: tuple[str, ...] = ()
    """The merged files of its collections, or what `data_input` gave."""

    output_files: Mapping[str, tuple[str, ...]] = {}
    """For each collection all files that its subjobs have left, by `output_patterns`. They are the originals, but for
    those of a collection that is not merged, where a `pre_algorithm` may change them."""

    input: Any = None
    """What the strategy hands in for this execution, say the output of another one; None in the built-in ones."""

    output: Any = None
    """What the strategy and the records see of an execution: a dict to fill with what JSON has."""

    _session: AlgorithmSession

    def __new__(cls, *words: Any, **options: Any) -> Algorithm:
        """Make the state here, so that a subclass may forget to call `super().__init__()`."""
        refuse_arguments(cls, words, options)
        self = super().__new__(cls)
        self._session = AlgorithmSession(f"algorithm {cls.__name__!r}")
        return self

    def calibrate(self) -> ResultCode | int:
        """Make the constants of `self.runs` and say how it went."""
        raise NotImplementedError

    def open_collected(self) -> None:
        """Get ready: called once in each process, when `input_files`, `output_files` and constants are there."""

    def find_collected_runs(self) -> tuple[ExpRun, ...]:
        """Return the runs that were collected, after `open_collected`.

        Write it where collections are not merged: then only the algorithm knows them.
        """
        return self._session.data.runs

    def close_collected(self) -> None:
        """Let go of what `open_collected` has taken."""

    def prepare_boundaries(self, runs: tuple[ExpRun, ...]) -> None:
        """Get ready: for each of these runs, in order, `is_boundary_required` will be called."""

    def is_boundary_required(self, run: ExpRun) -> bool:
        """Return whether a new payload begins with this run; `get` sees this run only."""
        raise DefinitionError(
            f"The algorithm {type(self).__name__!r} cannot find payload boundaries: it has no "
            "is_boundary_required(run).",
            hint="Write it, or give the strategy's parameter payload_boundaries.",
        )

    def get(self, name: str, *, runs: Iterable[ExpRun] | None = None, prefix: str | None = None) -> Any:
        """Return a collected object, merged over the runs of this execution only.

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
        """Return the names of the collected objects."""
        return self._session.data.list_names(prefix)

    def count_events(self) -> int:
        """Count the collected events of the runs of this execution."""
        return sum(self._session.data.count_events(run) for run in self.runs)

    def save_payload(self, value: Any, name: str, iov: IoV | Sequence[int] | None = None) -> None:
        """Hand in constants. The strategy decides whether they are committed, and with which IoV.

        :param value: an object of ROOT, or a value that JSON can say (not NaN; keys are texts).
        :param iov: an IoV of its own; None: that of the execution.
        :raises DefinitionError: if value, name or IoV is not allowed, or the name is used twice for one IoV.
        :raises CafError: if it cannot be written, say because the disk is full.
        """
        self._session.save(value, name, None if iov is None else IoV.from_json(list(iov)))

    def monitor(self, name: str, value: float, error: float | None = None) -> None:
        """Hand in a number for people to look at: the web page and the report plot it against pass and run.

        :param value: any number; one that is not finite is shown as missing.
        :param error: one standard deviation, in the unit of the value.
        :raises DefinitionError: if one of them is no number, or the name is used twice in one execution.
        """
        self._session.monitor(name, value, error)

    def add_figure(self, name: str, figure: Any) -> None:
        """Hand in a picture for people to look at.

        :param figure: a canvas of ROOT, a figure of matplotlib, or the path of a PNG, SVG or JPEG file.
        :raises DefinitionError: if it is none of these, or the name is used twice in one execution.
        :raises CafError: if it cannot be written or read.
        """
        self._session.add_figure(name, figure)

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


_LONGEST_NAME = 100


def check_shown_name(name: Any, what: str) -> str:
    """Check the name of a number or a figure.

    :raises DefinitionError: if it is no text of one line, or too long.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise DefinitionError(
            f"The {what} hands in something under the name {name!r}.",
            hint=f"A name is a text of at most {_LONGEST_NAME} printable letters.",
        )
    return name


def _read_finite(value: Any, name: str, what: str) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise DefinitionError(
            f"The {what} monitors {name!r} with {value!r}, which is no number.", hint="Give a number."
        ) from error
    return number if math.isfinite(number) else None


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
        self.monitored: list[Monitored] = []
        self.figures: list[StagedFigure] = []
        self._objects: dict[tuple[str, tuple[ExpRun, ...], str | None], Any] = {}

    def begin(self, staging: Path) -> None:
        """Begin an execution."""
        self.staging = staging
        self.payloads, self.monitored, self.figures = [], [], []

    def build_shown(self) -> dict[str, Any]:
        """Return the JSON form of what is only for people."""
        return {"monitored": build_json(self.monitored), "figures": build_json(self.figures)}

    def get(self, name: str, runs: tuple[ExpRun, ...], prefix: str | None) -> Any:
        """Return a collected object; the same one again until `finish`."""
        key = (name, runs, prefix)
        if key not in self._objects:
            self._objects[key] = self.data.get(name, runs, prefix)
        return self._objects[key]

    def monitor(self, name: str, value: float, error: float | None) -> None:
        """Keep a number."""
        self._get_staging(f"monitors {name!r}")
        if any(number.name == name for number in self.monitored):
            raise DefinitionError(f"The {self.what} monitors {name!r} twice in one execution.", hint="Rename one.")
        self.monitored.append(
            Monitored(
                name=check_shown_name(name, self.what),
                value=_read_finite(value, name, self.what),
                error=None if error is None else _read_finite(error, name, self.what),
            )
        )

    def add_figure(self, name: str, figure: Any) -> None:
        """Write a picture into the staging folder, under a name made of its content."""
        staging = self._get_staging(f"adds figure {name!r}")
        if any(staged.name == name for staged in self.figures):
            raise DefinitionError(f"The {self.what} adds figure {name!r} twice in one execution.", hint="Rename one.")
        check_shown_name(name, self.what)
        file, media_type = stage_figure(figure, staging, f"figure {name!r} of the {self.what}")
        self.figures.append(StagedFigure(name=name, file=file, media_type=media_type))

    def _get_staging(self, does: str) -> Path:
        if self.staging is None:
            raise DefinitionError(f"The {self.what} {does} outside of an execution.", hint="Do so in calibrate().")
        return self.staging

    def save(self, value: Any, name: str, iov: IoV | None) -> None:
        """Stage a payload."""
        staging = self._get_staging(f"saves payload {name!r}")
        if any(payload.name == name and payload.iov == iov for payload in self.payloads):
            raise DefinitionError(
                f"The {self.what} saves payload {name!r} twice with the same IoV.",
                hint="Give each its own IoV, or save the last one only.",
            )
        revision, size = save_payload(value, name, staging)
        self.payloads.append(
            StagedPayload(name=name, revision=revision, size=size, iov=iov, value=build_shown_value(value))
        )

    def stage_file(self, path: Path, name: str, iov: IoV | None) -> None:
        """Stage a payload file that the experiment's software has written."""
        revision, size = save_payload_bytes(path.read_bytes(), name, self._get_staging(f"saves payload {name!r}"))
        self.payloads.append(StagedPayload(name=name, revision=revision, size=size, iov=iov))

    def finish(self) -> None:
        """Free the objects of an execution."""
        self.staging = None
        self._objects.clear()
        self.data.release()
