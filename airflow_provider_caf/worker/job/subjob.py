"""Run one try of one subjob: its own folder, its argv, its outputs, its exit record.

A job of a batch system does this by the verb `subjob`; the local pool calls the same functions, many at a
time.

The exit record is written to a temporary name and renamed: a kill at any moment leaves a whole record or
none. It is not forced to disk, which would cost more than a short subjob itself: a crash of the whole
machine may lose the record or empty it, then the subjob counts as lost and runs again. That a recorded
output is really there is checked by its size whenever it matters.

Only what starts fast is imported here: a thousand short subjobs each pay for it on a batch system.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import sys
import time

from airflow_provider_caf.core.environment import build_child_environment
from airflow_provider_caf.core.file_names import (
    ENDED_BY_SYSTEM,
    STDERR_FILE,
    STDOUT_FILE,
    build_label,
    name_attempt,
    name_element_log,
    name_exit_record,
    name_job_file,
    name_subjob,
)
from airflow_provider_caf.core.temporary import build_temporary_name
from airflow_provider_caf.worker.job.outputs import find_outputs, is_done

# ruff: noqa: PTH102, PTH103, PTH104, PTH108, PTH110, PTH116, PTH123 - pathlib is slow to import

TYPE_CHECKING = False  # importing typing costs as much as all of the above
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_LOG_FILES = (STDOUT_FILE, STDERR_FILE)
EXIT_NOT_STARTED = 126
"""As a shell says it: the program could not be executed."""
EXIT_NOT_FOUND = 127
EXIT_BAD_JOB = 125
"""The wrapper's own: the job file or the work folder was not as it has to be."""

_PRIVATE = 0o600
"""Permissions of the logs: what a program prints may hold a secret."""
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
# Python ignores these two, and what is ignored stays so in a program that is started.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


class Attempt:
    """One try of one subjob, from the making of its folder to its exit record.

    :param folder: its work folder; None: it could not be made.
    :param logs: file descriptors of its logs, until it was started.
    :param label: the attempt's number, with `_r1` and so on when the system started the job again.
    :param argv: what runs; None: nothing can.
    :param problem: why it has failed, other than by exit code or signal.
    """

    __slots__ = (
        "argv",
        "array",
        "digest",
        "exit_code",
        "folder",
        "job_file",
        "label",
        "logs",
        "out_of_memory",
        "patterns",
        "pid",
        "problem",
        "started",
        "subjob",
    )

    def __init__(self, array: Mapping[str, Any], subjob: int) -> None:
        self.array = array
        self.subjob = subjob
        restarts = array.get("restarts", 0)
        self.label = build_label(array["attempt"], restarts)
        self.job_file = f"{array['input_folder']}/{name_job_file(subjob)}"
        self.folder: str | None = None
        self.argv: list[str] | None = None
        self.logs: list[int] = []
        self.patterns: list[str] = []
        self.digest = ""
        self.pid = 0
        self.started = time.time()
        self.exit_code: int | None = None
        self.problem: str | None = None
        self.out_of_memory = False

    @property
    def record_file(self) -> str:
        """The path of the exit record."""
        return f"{self.array['status_folder']}/{name_exit_record(self.subjob, self.label)}"

    def fail(self, exit_code: int, problem: str, error: Exception) -> None:
        """Note why it has failed before it ran."""
        self.exit_code = exit_code
        self.problem = problem
        self.out_of_memory = isinstance(error, OSError) and error.errno == errno.ENOMEM


def read_array(path: str) -> dict[str, Any]:
    """Read the array's record, which `batch.spec.ArraySpec` writes.

    :raises SystemExit: if it is not there, or is something else.
    """
    try:
        with open(path, "rb") as file:
            array = json.loads(file.read())
        if array["version"] != 1:
            raise ValueError(f"its version is {array['version']!r}, this program knows 1")
        for name in ("input_folder", "output_folder", "status_folder", "folder", "app", "name"):
            if not isinstance(array[name], str):
                raise ValueError(f"{name!r} is not a text")
        if not array["elements"] or not isinstance(array["attempt"], int):
            raise ValueError("it has no elements, or no attempt")
        return dict(array)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"the array {path} could not be read: {type(error).__name__}: {error}") from error


def open_attempt(array: Mapping[str, Any], subjob: int) -> Attempt:
    """Make the work folder of a try and read its job. What goes wrong is noted in the attempt."""
    attempt = Attempt(array, subjob)
    try:
        attempt.folder = _make_folder(attempt)
        # Opened here and not while the process is started: then the pool would wait for the file system.
        attempt.logs = [os.open(f"{attempt.folder}/{name}", _NEW_FILE, _PRIVATE) for name in _LOG_FILES]
    except OSError as error:
        attempt.fail(EXIT_BAD_JOB, f"the work folder could not be made: {error}", error)
    try:
        with open(attempt.job_file, "rb") as file:
            text = file.read()
        attempt.digest = hashlib.sha256(text).hexdigest()
        job = json.loads(text)
        attempt.patterns = [str(pattern) for pattern in job["output_patterns"]]
        if array.get("scratch"):
            from airflow_provider_caf.worker.scratch import move_job

            job = move_job(job, attempt.job_file, array["scratch"])
        attempt.argv = build_argv(job, attempt.job_file, str(array["app"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        attempt.fail(EXIT_BAD_JOB, f"the job file could not be read: {type(error).__name__}: {error}", error)
    return attempt


def _make_folder(attempt: Attempt) -> str:
    parent = f"{attempt.array['output_folder']}/{name_subjob(attempt.subjob)}"
    repeat = attempt.array.get("restarts", 0)
    while True:
        folder = f"{parent}/{name_attempt(attempt.label)}"
        try:
            os.mkdir(folder)
            return folder
        except FileNotFoundError:
            os.makedirs(parent, exist_ok=True)
        except FileExistsError:
            # The system has started the job again. The earlier start may still run somewhere: hands off.
            repeat += 1
            attempt.label = build_label(attempt.array["attempt"], repeat)


def build_argv(job: Mapping[str, Any], job_file: str, app: str) -> list[str]:
    """Return the argv of a job.

    A command runs as it is, with its placeholders filled; the job app does the rest: requests, functions, collectors in
    Python, what has to run before a collector, and files that it needs beside it.

    :raises ValueError: if the command is not a list of texts.
    """
    command = job["command"]
    if job.get("verb") is not None:
        return [sys.executable, app, str(job["verb"]), str(job["request"])]
    if job.get("function") is not None:
        return [sys.executable, app, "function", job_file]
    if command is None or job.get("pre_collector") is not None or job.get("job_files"):
        return [sys.executable, app, "collect", job_file]
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise ValueError(f"the command is {command!r}, not a list of texts")
    return fill_placeholders(command, job, job_file)


def fill_placeholders(command: Sequence[str], job: Mapping[str, Any], job_file: str) -> list[str]:
    """Fill the placeholders in a command's words. No shell sees them.

    `{input_files}` alone in a word becomes one word per file. `{job}` is the job file; `{subjob}`,
    `{calibration}`, `{collection}`, `{iteration}`, each of the job's settings and each generated argument
    go by their names. Braces around anything else stay as they are, `awk` needs them.
    """
    if not any("{" in word for word in command):
        return list(command)
    values: dict[str, Any] = dict(job.get("settings") or {})
    values.update(job.get("arguments") or {})
    values.update({name: job.get(name) for name in ("subjob", "calibration", "collection", "iteration")})
    values["job"] = job_file
    filled: list[str] = []
    for word in command:
        if word == "{input_files}":
            filled.extend(str(path) for path in job["input_files"])
        else:
            filled.append(_fill_word(word, values))
    return filled


def _fill_word(word: str, values: Mapping[str, Any]) -> str:
    # One pass from left to right: what is filled in is never looked at again.
    parts = word.split("{")
    filled = [parts[0]]
    for part in parts[1:]:
        name, brace, rest = part.partition("}")
        if brace and name in values:
            value = values[name]
            filled.append((value if isinstance(value, str) else json.dumps(value)) + rest)
        else:
            filled.append("{" + part)
    return "".join(filled)


def start_attempt(attempt: Attempt, environment: Mapping[str, str], *, own_session: bool) -> bool:
    """Start the job's process, in its work folder, with its output in log files.

    :param environment: the variables of every subjob.
    :param own_session: put it into a session of its own, so that it can be ended with all it started. In a
        batch job it must stay in the session of the job: PBS ends a job by its session.
    :returns: whether it runs; else the reason is noted in the attempt.
    """
    attempt.started = time.time()
    if attempt.problem is not None or attempt.argv is None or attempt.folder is None:
        close_logs(attempt)
        return False
    variables = dict(environment)
    variables["CAF_JOB"] = attempt.job_file
    variables["CAF_SUBJOB"] = str(attempt.subjob)
    variables["CAF_ATTEMPT"] = attempt.label
    try:
        # posix_spawn has no working directory; this process has one thread and needs none itself.
        os.chdir(attempt.folder)
        attempt.pid = os.posix_spawnp(
            attempt.argv[0],
            attempt.argv,
            variables,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                *((os.POSIX_SPAWN_DUP2, log, number) for number, log in enumerate(attempt.logs, start=1)),
            ],
            setsid=own_session,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        attempt.fail(
            EXIT_NOT_FOUND if missing else EXIT_NOT_STARTED,
            f"{attempt.argv[0]!r} could not be started in {attempt.folder}: "
            f"{getattr(error, 'strerror', None) or error}",
            error,
        )
        return False
    finally:
        close_logs(attempt)
    return True


def close_logs(attempt: Attempt) -> None:
    """Close this process's own hold on the logs of a try."""
    while attempt.logs:
        os.close(attempt.logs.pop())


def finish_attempt(
    attempt: Attempt, status: int = 0, usage: Any = None, reason: str | None = None, ended_by: str | None = None
) -> dict[str, Any]:
    """Check the outputs and write the exit record.

    :param status: the wait status of the process.
    :param usage: its resource usage, from `wait4`; None: it never ran.
    :param reason: why it has failed, where the exit code does not tell, such as "cancelled".
    :param ended_by: who ended the whole job from outside, a word of `core.file_names.ENDED_BY`; None: nobody.
    :returns: the record.
    :raises OSError: if the record cannot be written.
    """
    exit_code, killed_by = attempt.exit_code, None
    if usage is not None:
        code = os.waitstatus_to_exitcode(status)
        exit_code, killed_by = (None, -code) if code < 0 else (code, None)
    outputs, missing = find_outputs(attempt.folder, attempt.patterns)
    if missing is not None and exit_code == 0 and attempt.problem is None:
        attempt.problem = missing
    record = {
        "version": 1,
        "subjob": attempt.subjob,
        "attempt": attempt.label if "_" in attempt.label else int(attempt.label),
        "exit_code": exit_code,
        "signal": killed_by,
        "host": os.uname().nodename,
        "started": format_time(attempt.started),
        "ended": format_time(time.time()),
        "cpu_seconds": 0.0 if usage is None else round(usage.ru_utime + usage.ru_stime, 3),
        # Linux counts what the parent had at the start too: nothing below some 10 MB is shown.
        "peak_memory_kb": 0 if usage is None else usage.ru_maxrss,
        "job_digest": attempt.digest,
        "folder": attempt.folder and attempt.folder[len(attempt.array.get("scratch", "")) :],
        "outputs": outputs,
        "reason": reason or attempt.problem,
        "ended_by": ended_by,
        "out_of_memory": attempt.out_of_memory,
    }
    write_record(attempt.record_file, record)
    return record


def write_record(path: str, record: Mapping[str, Any]) -> None:
    """Write an exit record in one step.

    :raises OSError: if it cannot be written.
    """
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/{build_temporary_name(name)}"
    data = json.dumps(record).encode()
    try:
        descriptor = os.open(temporary, _NEW_FILE, 0o666)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(temporary, _NEW_FILE, 0o666)
    try:
        written = os.write(descriptor, data)
    finally:
        os.close(descriptor)
    if written != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    os.rename(temporary, path)


def format_time(seconds: float) -> str:
    """Return a time in UTC, ISO 8601 with milliseconds."""
    milliseconds = int(seconds * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000)) + f".{milliseconds % 1000:03d}Z"


_LSF_LIMITS = {
    int(signal.SIGUSR2): "the end of the walltime (run limit)",
    int(signal.SIGXCPU): "the end of the CPU time",
}
"""Compatible systems say nothing else of it."""


class Warden:
    """Hand signals of the batch system on to the job, and remember the first one.

    Without it the wrapper would die of the signal, and nothing would be recorded. Systems warn before they
    kill: LSF by SIGUSR2 at the run limit, others by SIGTERM or SIGXCPU.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)

    def __init__(self) -> None:
        self.pid = 0
        self.received = 0

    def install(self) -> None:
        """Begin to listen."""
        for number in self.SIGNALS:
            signal.signal(number, self.handle)

    def watch(self, pid: int) -> None:
        """Hand signals on to this process from now on, also one that came while it was started."""
        self.pid = pid
        if self.received:
            self.handle(self.received)

    def handle(self, number: int, _frame: object = None) -> None:
        """Hand a signal on."""
        self.received = self.received or number
        if self.pid:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                self.pid = 0

    @property
    def reason(self) -> str | None:
        """What to write into the exit record."""
        if not self.received:
            return None
        text = f"the batch system sent {signal.Signals(self.received).name} to the job"
        limit = _LSF_LIMITS.get(self.received) if "LSB_JOBID" in os.environ else None
        return text if limit is None else f"{text}, as LSF does at {limit}"


def run_attempt(attempt: Attempt, warden: Warden) -> int:
    """Run one try to its end and record it.

    :returns: the exit code to pass on: 0 only when all is well.
    """
    status, usage = 0, None
    if start_attempt(attempt, build_child_environment(os.environ), own_session=False):
        warden.watch(attempt.pid)
        _, status, usage = os.wait4(attempt.pid, 0)
        warden.pid = 0
    ended_by = ENDED_BY_SYSTEM if warden.received else None
    record = finish_attempt(attempt, status, usage, warden.reason, ended_by)
    if record["signal"] is not None:
        return 128 + int(record["signal"])
    return int(record["exit_code"]) or (1 if record["reason"] else 0)


def main(argv: Sequence[str]) -> int:
    """Run the subjobs of one element of an array, one after the other.

    :param argv: `--array FILE --element NUMBER [--first NUMBER] [--scratch FOLDER]`; `first` is the number that the
        system gives to the first element, `scratch` is where files lie that travelled with the job.
    """
    import argparse

    parser = argparse.ArgumentParser(prog="subjob")
    parser.add_argument("--array", required=True)
    parser.add_argument("--element", required=True, type=int)
    parser.add_argument("--first", default=0, type=int)
    parser.add_argument("--scratch")
    options = parser.parse_args(argv)
    array = read_array(options.array)
    if options.scratch is not None:
        from airflow_provider_caf.worker.scratch import enter_scratch

        array = enter_scratch(array, options.scratch)
    index = options.element - options.first
    if not 0 <= index < len(array["elements"]):
        raise SystemExit(f"array {array['name']} has no element {index}, it has {len(array['elements'])}")
    warden = Warden()
    warden.install()
    worst = 0
    subjobs = array["elements"][index]
    for subjob in subjobs:
        # The system has started the element again: what has ended well need not run once more.
        if is_done(array, subjob):
            continue
        attempt = open_attempt(array, subjob)
        try:
            code = run_attempt(attempt, warden)
        except OSError as error:
            raise SystemExit(f"the exit record {attempt.record_file} could not be written: {error}") from error
        worst = worst or code
        if warden.received:
            break
    log = f"{array['folder']}/{name_element_log(index)}"
    # Ten thousand empty files help nobody; who runs the verb by hand has no such log.
    if os.path.exists(log) and not os.stat(log).st_size:
        os.unlink(log)
    return worst
