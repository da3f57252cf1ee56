"""Every error of the package. Each says what happened, where, and what to do.

A message is built once, from named parts: the task log, the command line and a test read the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class CafError(Exception):
    """Report something that went wrong in a calibration.

    :param what: what happened, to which calibration, collection, subjob or file.
    :param hint: what the reader can do about it.
    """

    def __init__(self, what: str, *, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return self.what if self.hint is None else f"{self.what}\n  hint: {self.hint}"


class DefinitionError(CafError, ValueError):
    """Refuse a definition, a conf or a parameter. A retry cannot mend it.

    :param file: the file of the definition, where known.
    :param line: its line, counted from 1, where known.
    :param where: the way to the place in the record, such as `("calibrations", 0, "depends_on")`; a reader of
        a definition file finds the line with it.
    :param causes: the single errors, where this one stands for several.
    :param excerpt: the lines of the file around it, where known.
    """

    def __init__(
        self,
        what: str,
        *,
        hint: str | None = None,
        file: str | None = None,
        line: int | None = None,
        where: tuple[str | int, ...] = (),
        causes: tuple[DefinitionError, ...] = (),
        excerpt: str = "",
    ) -> None:
        super().__init__(what, hint=hint)
        self.file = file
        self.line = line
        self.where = where
        self.causes = causes
        self.excerpt = excerpt

    def within(self, *place: str | int) -> DefinitionError:
        """Return the error of a part as one of the whole, in which the part stands at this place."""
        return DefinitionError(self.what, hint=self.hint, where=(*place, *self.where))

    def __str__(self) -> str:
        place = "" if self.file is None else self.file + (f":{self.line}" if self.line is not None else "") + ": "
        return place + super().__str__() + (f"\n{self.excerpt}" if self.excerpt else "")


def join_definition_errors(errors: Iterable[DefinitionError], what: str) -> DefinitionError:
    """Make one error of several, so that a reader mends all of them in one go.

    :param errors: at least one.
    :param what: what they were found in, such as `the CAF 'demo'`.
    """
    causes = tuple(errors)
    if len(causes) == 1:
        return causes[0]
    if any(cause.excerpt for cause in causes):
        text = "\n\n".join(str(cause) for cause in causes)
    else:
        text = "\n".join(f"- {' '.join(_flatten(cause))}" for cause in causes)
    return DefinitionError(f"{len(causes)} mistakes in {what}:\n{text}", causes=causes, where=causes[0].where)


def _flatten(error: DefinitionError) -> list[str]:
    return [line.strip() for line in str(error).splitlines()]


class InputError(CafError):
    """Refuse an input file or an object in it: missing, empty, truncated, or not what it should be."""


class TransportError(CafError):
    """A command could not be run, or a file not be moved, on the machine where it should have been."""


class CommandMissing(TransportError):
    """There is no such command on the machine where it should have been."""


class TransportTimeout(TransportError):
    """A command took longer than its time limit, and was ended."""


class SubmitError(CafError):
    """A batch system did not take an array."""


class SubmitRefused(SubmitError):
    """A batch system has said that it does not take an array: another request may do better."""


class SubmitUnknown(SubmitError):
    """No array of a name is in the queue, and the batch system does not remember all that has been there.

    :param remembers: seconds for which the queue shows what is over.
    """

    def __init__(self, what: str, *, hint: str | None = None, remembers: float = 0.0) -> None:
        super().__init__(what, hint=hint)
        self.remembers = remembers


class PollError(CafError):
    """A batch system did not answer a query in a form we can read."""


class JobFailed(CafError):
    """One or more subjobs failed.

    :param what: the subjobs with exit code or signal, host and reason.
    :param log: path of the log to read first.
    :param log_tail: its last lines.
    """

    def __init__(self, what: str, *, hint: str | None = None, log: str | None = None, log_tail: str = "") -> None:
        super().__init__(what, hint=hint)
        self.log = log
        self.log_tail = log_tail

    def __str__(self) -> str:
        text = self.what
        if self.log is not None:
            text += f"\n  log: {self.log}"
        if self.log_tail:
            text += "\n" + "\n".join(f"    | {line}" for line in self.log_tail.splitlines())
        return text if self.hint is None else f"{text}\n  hint: {self.hint}"


class JobHeld(JobFailed):
    """The batch system holds a job and will not start it by itself."""


class JobLost(JobFailed):
    """A job is in no queue and no history, and left no exit record; or there is no such job."""


class AlgorithmFailed(JobFailed):
    """An algorithm raised, crashed, hung, or answered nonsense."""


class AlgorithmDied(AlgorithmFailed):
    """The process of an algorithm crashed, was killed or hung. Another try may go better."""


class Stopped(CafError):
    """The task was told to end, and so was what it had started."""


class NotEnoughData(CafError):
    """The collected data do not suffice for one payload."""


class CheckpointError(CafError):
    """What was recorded of an earlier try does not fit what is there now."""


class DatabaseError(CafError):
    """A local database could not be read or written."""


def is_final(error: CafError) -> bool:
    """Return whether no retry mends an error: the definition, the input or the user's code has to change first."""
    return isinstance(error, (DefinitionError, InputError, JobFailed, NotEnoughData)) and not isinstance(
        error, AlgorithmDied
    )


MOUNT_ADVICE = "Check that the work folder is mounted here, and that you may read it and write there."


@contextmanager
def explain_os_error(
    kind: type[CafError], what: str, hint: str | None = None, *, missing: tuple[str, str] | None = None
) -> Iterator[None]:
    """Raise an error of the package for one of the operating system, or for a text that is not UTF-8.

    :param kind: the class of the error.
    :param what: what was not possible, such as `The folder /w could not be made`; the system's reason is added.
    :param hint: what the reader can do about it.
    :param missing: what to say where there is no such file, and what to do then.
    """
    try:
        yield
    except FileNotFoundError as error:
        text, advice = missing or (f"{what}: {error.strerror or error}.", hint)
        raise kind(text, hint=advice) from error
    except (OSError, UnicodeDecodeError) as error:
        raise kind(f"{what}: {getattr(error, 'strerror', None) or error}.", hint=hint) from error
