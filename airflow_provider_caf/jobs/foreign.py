"""Wait for jobs that somebody else submitted: by a script, by hand, by another program.

Such a job is known by its id or its name alone, and judged by what queue and history say of it. `batch.foreign` has the
theory, and what each system can tell.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from airflow_provider_caf.batch.foreign import load_foreign
from airflow_provider_caf.batch.foreign.base import Look, Target, Told, check_name, read_targets
from airflow_provider_caf.batch.foreign.watch import ForeignJob, ForeignMemory, ForeignWatch
from airflow_provider_caf.batch.polling import decide_interval, decide_over
from airflow_provider_caf.batch.spec import Command, CommandResult
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import (
    CafError,
    CommandMissing,
    DefinitionError,
    JobFailed,
    JobLost,
    PollError,
    TransportError,
)
from airflow_provider_caf.core.record import record
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.poll import StateReader
from airflow_provider_caf.jobs.subjobs import clean_line, describe_counts, format_rows

_TABLE_ROWS = 20
_SHOWN_IDS = 10
_SHOWN_REASONS = 5
_NOT_FOUND = 127
"""The exit code of a shell that has not found a command."""

_log = logging.getLogger(__name__)


@record
class ForeignObservation:
    """What is true of jobs that somebody else submitted, at one moment.

    :param jobs: every native job; the elements of an array are counted singly.
    :param is_over: nothing will happen any more by itself.
    :param problem: why the batch system could not be asked; None: it could.
    :param remark: what may be missing in the jobs, on a system that keeps no history; None: nothing.
    """

    jobs: tuple[ForeignJob, ...]
    is_over: bool
    problem: str | None = None
    remark: str | None = None

    @property
    def done(self) -> tuple[ForeignJob, ...]:
        """Those that have ended well."""
        return tuple(job for job in self.jobs if job.status is SubjobStatus.DONE)

    @property
    def failed(self) -> tuple[ForeignJob, ...]:
        """Those that are over and not done; those of which nobody knows how they ended are among them."""
        return tuple(job for job in self.jobs if job.status.runs_again)

    @property
    def held(self) -> tuple[ForeignJob, ...]:
        """Those that are held."""
        return tuple(job for job in self.jobs if job.status is SubjobStatus.HELD)

    @property
    def is_settling(self) -> bool:
        """Whether nothing is waited for but the grace time of jobs that are nowhere.

        Whoever leaves then and comes back with an empty memory waits for all of it again.
        """
        live = [job for job in self.jobs if not job.status.is_over]
        return bool(live) and self.problem is None and all(job.is_missing for job in live)

    def describe(self) -> str:
        """Return a line of progress such as `3 done, 1 held, 2 running; held: 4242_7 (JobHeldUser)`."""
        counts = Counter(job.status for job in self.jobs)
        line = describe_counts(counts) if counts else "nothing is known of the jobs yet"
        if self.held:
            line += f"; held: {_describe_reasons(self.held)}"
        if self.remark is not None:
            line += f"; {self.remark}"
        return line if self.problem is None else f"{line} (the batch system does not answer: {self.problem})"

    def build_failure_table(self, rows: int = _TABLE_ROWS) -> str:
        """Return a table of the jobs that did not end well.

        :param rows: at most so many; the rest is counted.
        """
        failed = self.failed
        table: list[Sequence[str]] = [("job", "status", "state", "exit code", "host", "reason")]
        for job in failed[:rows]:
            exit_code = "-" if job.exit_code is None else str(job.exit_code)
            cells = (job.id, job.status.value, job.native or "-", exit_code, job.host or "-", job.reason or "")
            table.append([clean_line(cell) for cell in cells])
        lines = format_rows(table)
        if len(failed) > rows:
            lines.append(f"… and {len(failed) - rows} more")
        return "\n".join(lines)


class ForeignJobs:
    """Jobs that somebody else submitted: what queue and history say of them.

    It keeps what it has seen from look to look: a job that was seen, and is forgotten by the system before it was seen
    to end, has failed. All methods may be called from any thread.

    A name stands for all jobs of this name that the user who asks has in the queue, and in the history where there is
    one, when the name is first found. Whoever submits more under that name later is not waited for.

    :param ids: as the system writes them: whole arrays, single elements, plain jobs.
    :param name: the name of the jobs, instead of ids.
    :param memory: what `remember` has returned elsewhere. Its ids count, also where it was a name that was asked for.
    :raises DefinitionError: if an id or the name cannot be one, if there is neither, or both; if the system has no
        queue of its own (`local`).
    """

    def __init__(
        self,
        client: BatchClient,
        *,
        ids: Sequence[str] = (),
        name: str | None = None,
        memory: Any = None,
    ) -> None:
        self.client = client
        self._system = load_foreign(client.system.name)
        self._read_state = StateReader(client.system)
        self._name = None if name is None else check_name(name)
        self._watch: ForeignWatch | None = None
        self._failing_since: float | None = None
        self._has_answered = False
        self._has_history = self._system.keeps_history
        self._mutex = threading.Lock()
        remembered = None if memory is None else ForeignMemory.from_json(memory)
        if name is not None and ids:
            raise DefinitionError(
                f"The jobs to wait for have the name {name!r} and ids, too.", hint="Name them, or give their ids."
            )
        if remembered is not None:
            self._watch = self._make_watch(remembered.ids)
            self._watch.recall(remembered)
        elif name is None:
            self._watch = self._make_watch(ids)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids that are waited for; none as long as the name was not found."""
        return () if self._watch is None else tuple(target.text for target in self._watch.targets)

    def observe(self) -> ForeignObservation:
        """Look once: ask the queue, and the history after what is not there.

        :raises JobLost: if neither queue nor history has ever known one of the jobs.
        :raises CommandMissing: if the system's commands are not there, at the first look.
        :raises PollError: if the system has not answered for too long.
        """
        with self._mutex:
            problems: list[str] = []
            if self._watch is None:
                self._watch = self._find(problems)
            if self._watch is not None:
                self._look(self._watch, problems)
            problem = "; ".join(dict.fromkeys(problems)) or None
            self._check_patience(problem)
            jobs = () if self._watch is None else self._watch.list_jobs()
            is_over = problem is None and self._watch is not None and self._watch.is_over
            return ForeignObservation(jobs=jobs, is_over=is_over, problem=problem, remark=self._find_remark())

    def wait(self, timeout: float | None = None) -> ForeignObservation:
        """Look until nothing will happen any more by itself.

        :param timeout: seconds after which it returns all the same; None: never.
        :raises CafError: as `observe` does.
        """
        began, last_line = time.monotonic(), ""
        while True:
            observation = self.observe()
            line = observation.describe()
            if line != last_line:
                last_line = line
                _log.info("%s: %s", self.describe(), line)
            waited = time.monotonic() - began
            if observation.is_over or (timeout is not None and waited >= timeout):
                return observation
            interval = decide_interval(waited, self.client.patience)
            time.sleep(interval if timeout is None else min(interval, timeout - waited))

    def check_done(self, observation: ForeignObservation) -> None:
        """Refuse to go on unless all jobs have ended well.

        :raises JobFailed: with a table of those that did not, or because some are not over. It is a `JobLost` where
            of all that failed nobody knows how they ended.
        """
        if not observation.is_over:
            raise JobFailed(
                f"The jobs are not over, {self.describe()}: {observation.describe()}.", hint="Wait for them."
            )
        failed = observation.failed
        if failed:
            are_lost = all(job.status is SubjobStatus.LOST for job in failed)
            raise (JobLost if are_lost else JobFailed)(
                f"{len(failed)} of {len(observation.jobs)} jobs failed, {self.describe()}.\n"
                + observation.build_failure_table(),
                hint=self._system.memory
                if are_lost
                else "Look at the logs of these jobs; who submitted them knows where.",
            )

    def cancel(self) -> None:
        """End the jobs. Those that are over already are no error.

        :raises DefinitionError: if they were given by name: it may be that of others by now.
        :raises CafError: the first failure; all commands are tried.
        """
        if self._name is not None or self._watch is None:
            found = f" Found were: {' '.join(self.ids)[:300]}." if self.ids else ""
            raise DefinitionError(
                f"Jobs that were found by the name {self._name!r} are not ended from here.{found}",
                hint="Give their ids.",
            )
        failures: list[CafError] = []
        for command in self._system.build_cancel(self._watch.targets):
            try:
                self._system.parse_cancel(self._run(command))
            except (TransportError, PollError) as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def remember(self) -> dict[str, Any] | None:
        """Return what was seen so far, in JSON's types, for one that waits on in another process; None: nothing."""
        with self._mutex:
            return None if self._watch is None else self._watch.remember().to_json()

    def describe(self) -> str:
        """Return which jobs these are, such as `slurm on login1: 4242, 4243_7`."""
        if self._watch is None:
            which = f"named {self._name!r}"
        else:
            which = ", ".join(self.ids[:_SHOWN_IDS])
            which += f" and {len(self.ids) - _SHOWN_IDS} more" if len(self.ids) > _SHOWN_IDS else ""
            which += "" if self._name is None else f" (named {self._name!r})"
        return f"{self.client.system.name} on {self.client.transport.host}: {which}"

    def _make_watch(self, ids: Iterable[str]) -> ForeignWatch:
        system = self.client.system
        targets = read_targets(self._system, ids, system.name)
        return ForeignWatch(self._system, targets, self._read_state, self.client.patience.choose_grace(system.grace))

    def _find(self, problems: list[str]) -> ForeignWatch | None:
        """Look for the jobs of the name; None: it could not be found out."""
        assert self._name is not None
        try:
            found = self._system.parse_find(self._name, self._run(self._system.build_find(self._name)))
        except (TransportError, PollError) as error:
            self._note(error, problems)
            return None
        self._has_answered = True
        if not found:
            raise self._refuse(f"no job named {self._name!r} of the user who asks")
        return self._make_watch(found)

    def _look(self, watch: ForeignWatch, problems: list[str]) -> None:
        system = self._system
        ill = self._ask(watch, system.build_query(watch.begin()), system.parse_query, problems)
        searched = watch.plan_history(ill)
        if searched:
            ill |= self._ask(watch, system.build_history(searched), system.parse_history, problems)
        unknown = watch.finish(searched, ill, self.client.clock())
        if unknown:
            shown = ", ".join(target.text for target in unknown[:_SHOWN_IDS])
            more = f" and {len(unknown) - _SHOWN_IDS} more" if len(unknown) > _SHOWN_IDS else ""
            raise self._refuse(f"no job {shown}{more}")

    def _ask(
        self,
        watch: ForeignWatch,
        looks: Iterable[Look],
        parse: Callable[[Look, CommandResult], Told],
        problems: list[str],
    ) -> set[Target]:
        """Ask, and return the targets about which nothing was found out."""
        ill: set[Target] = set()
        for look in looks:
            try:
                told = parse(look, self._run(look.command))
            except (TransportError, PollError) as error:
                self._note(error, problems)
                ill |= watch.find_targets(look.targets)
                continue
            self._has_answered = True
            self._has_history = self._has_history and told.has_history
            problems.extend(told.problems.values())
            ill |= watch.find_targets(told.problems)
            watch.take(told, self.client.clock())
        return ill

    def _run(self, command: Command) -> CommandResult:
        result = self.client.transport.run(command)
        if result.exit_code == _NOT_FOUND:
            raise CommandMissing(
                f"A command of {self.client.system.name} is not there on {self.client.transport.host}: "
                f"{(result.stderr.strip() or command.argv[0])[-300:]}",
                hint="Is the batch system installed there, and its folder on the PATH?",
            )
        return result

    def _note(self, error: CafError, problems: list[str]) -> None:
        if isinstance(error, CommandMissing) and not self._has_answered:
            # It will not come by itself.
            raise error
        problems.append(error.what)

    def _find_remark(self) -> str | None:
        arrays = () if self._watch is None or self._has_history else self._watch.list_uncounted()
        if not arrays:
            return None
        shown = ", ".join(arrays[:_SHOWN_IDS])
        return f"there is no history here: elements of {shown} that left the queue before the first look do not count"

    def _check_patience(self, problem: str | None) -> None:
        now = self.client.clock()
        if problem is None:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = now
        if decide_over(self._failing_since, now, self.client.patience.deadline):
            raise PollError(
                f"Nothing could be found out for too long, {self.describe()}: {problem}",
                hint="Mend the batch system and clear the task: it looks again.",
            )

    def _refuse(self, what: str) -> JobLost:
        system, host = self.client.system.name, self.client.transport.host
        return JobLost(
            f"There is {what} that {system} on {host} knows of: neither its queue nor its history shows it.",
            hint=f"Look at what is asked for. What is over may have been forgotten: {self._system.memory}",
        )


def _describe_reasons(jobs: Sequence[ForeignJob]) -> str:
    reasons: dict[str, list[str]] = {}
    for job in jobs:
        reasons.setdefault(clean_line(job.reason or "the batch system gives no reason"), []).append(job.id)
    parts = [
        f"{ids[0]}{f' and {len(ids) - 1} more' if len(ids) > 1 else ''} ({reason})" for reason, ids in reasons.items()
    ]
    more = len(parts) - _SHOWN_REASONS
    return ", ".join(parts[:_SHOWN_REASONS]) + (f" and {more} reasons more" if more > 0 else "")
