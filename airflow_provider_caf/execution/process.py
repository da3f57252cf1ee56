"""The parent's side of an algorithm process: start it, ask it, and survive whatever it does.

The child is `app.pyz algorithm`, see `worker/algorithm/serve.py`. Requests and answers go over two pipes; a third one
is never written to, and tells the child by its end that we are gone. Its prints go to a log file. When it
crashes, hangs or answers nonsense, it is ended with all that it started, and `AlgorithmFailed` says why, with
the end of the log.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from airflow_provider_caf.core import errors
from airflow_provider_caf.core.algorithm_requests import BoundariesRequest, CloseRequest, ExecuteRequest, OpenRequest
from airflow_provider_caf.core.errors import AlgorithmDied, AlgorithmFailed, CafError, DefinitionError, Stopped
from airflow_provider_caf.core.files import open_log
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.json_form import JsonRecord, read_list, read_with
from airflow_provider_caf.core.processes import TiedProcess
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.signals import name_signal
from airflow_provider_caf.core.strategies.base import (
    READ_FIGURES,
    READ_MONITORED,
    Execute,
    Execution,
    FindBoundaries,
    StagedPayload,
)
from airflow_provider_caf.core.tails import cut_tail, read_tail
from airflow_provider_caf.execution.copies import copy_collected

START_TIMEOUT = 600.0
"""Seconds for `open`: setup lines and the import of ROOT from a network file system take minutes at times."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_CLOSE_TIMEOUT = 10.0
_LENGTH = struct.Struct(">I")
_MAX_FRAME = 256 * 1024 * 1024
_LOOK_INTERVAL = 0.2
"""Seconds after which a dead child is noticed, should something that it started hold the pipes open."""

_END_WAIT = 2.0
"""Seconds that a child may need from closing its pipes to its end; a core dump takes time."""


@record
class Opened(JsonRecord):
    """What the algorithm sees.

    :param runs: the collected runs, sorted.
    :param prefix: the prefix that it reads, or None for whatever is there.
    :param granularity: of the collected data.
    """

    noun = "view of the algorithm"

    runs: tuple[ExpRun, ...]
    prefix: str | None
    granularity: str


class AlgorithmProcess(contextlib.AbstractContextManager["AlgorithmProcess"]):
    """One algorithm in a process of its own. Use it in a `with` statement.

    :param argv: what runs the job app, to which the verb is added; see `batch.wrapper.build_site_argv`.
    :param log_path: where its prints go; they are added to what is there.
    :param cwd: its current folder, where it may write extra files.
    :param environment: variables over those of this process. Airflow's own are not handed on.
    :param name: the algorithm, for messages.
    :param cpus: how many threads it may use.
    """

    def __init__(
        self,
        *,
        argv: Sequence[str],
        log_path: Path,
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        name: str = "algorithm",
        cpus: int = 1,
    ) -> None:
        self._argv = tuple(argv)
        self._log_path = log_path
        self._cwd = cwd
        # Else each numerical library starts as many threads as there are cores, in every process.
        self._environment = {**dict.fromkeys(_THREAD_VARIABLES, str(cpus)), **(environment or {})}
        self._name = name
        self._cpus = cpus
        self._copies: Path | None = None
        self._process: TiedProcess | None = None
        self._is_stopped = False
        self._to_child = self._from_child = self._life = -1
        self._opened: Opened | None = None
        self.memory_kb = 0
        """What the child had in RAM after its last answer."""

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def opened(self) -> Opened:
        """What `open` answered."""
        if self._opened is None:
            raise CafError(f"The {self._name} is not open.", hint="Call open() first.")
        return self._opened

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs and can be asked."""
        return self._process is not None and not self._process.has_ended

    def kill(self) -> None:
        """Kill the process with all that it started, also while another thread waits for its answer."""
        process = self._process
        if process is not None:
            process.kill()

    def refuse_stopped(self) -> None:
        """Do nothing, if the process was not ended together with the task.

        :raises Stopped: if it was: nobody may take its end for an answer of the algorithm.
        """
        if self._is_stopped or (self._process is not None and self._process.is_stopped):
            raise Stopped(f"The task was told to end while the {self._name} worked.", hint="Run it again.")

    def start(self) -> None:
        """Start the process, if it does not run.

        :raises AlgorithmFailed: if it cannot be started.
        """
        if self._process is not None:
            return
        child_in, self._to_child = os.pipe()
        self._from_child, child_out = os.pipe()
        child_life, self._life = os.pipe()
        ends = (child_in, child_out, child_life)
        words = zip(("--in-fd", "--out-fd", "--life-fd"), ends)
        try:
            with open_log(self._log_path) as log:
                self._process = TiedProcess(
                    [*self._argv, "algorithm", *(word for pair in words for word in map(str, pair))],
                    variables=self._environment,
                    folder=self._cwd,
                    stdout=log,
                    pass_fds=ends,
                )
        except OSError as error:
            self._close_pipes()
            raise AlgorithmFailed(
                f"The {self._name} cannot be started: {error.strerror}: {error.filename!r}.",
                hint="Check the Python of the batch connection, the work folder and the setup lines.",
                log=str(self._log_path),
            ) from error
        finally:
            for end in ends:
                os.close(end)
        os.set_blocking(self._to_child, False)
        os.set_blocking(self._from_child, False)

    def open(
        self, request: OpenRequest, *, copies: Path | None = None, timeout: float | None = START_TIMEOUT
    ) -> Opened:
        """Start the process and open the algorithm with its collected data.

        A `pre_algorithm` may change the collected data: it gets copies, which are removed with the process.

        :param request: `output_folder` and `cpus` in it are those of this process.
        :param copies: a folder for the copies; nobody else uses it.
        :param timeout: in seconds.
        :raises DefinitionError: if class, settings or prefix are not there.
        :raises InputError: if collected data cannot be read.
        :raises AlgorithmFailed: if the process breaks.
        """
        if request.pre_algorithm is not None:
            if copies is None:
                raise CafError("A pre_algorithm needs a folder for its copies.", hint="Give `copies`.")
            self._copies = copies
            indexes, files = copy_collected(request.indexes, request.output_files, copies)
            request = replace(request, indexes=indexes, output_files=files)
        self.start()
        answer = self._ask("open", replace(request, output_folder=str(self._cwd), cpus=self._cpus), timeout)
        with self._refuse_nonsense():
            self._opened = Opened(
                runs=_READ_RUNS(answer["runs"], "runs"),
                prefix=answer["prefix"],
                granularity=answer["granularity"],
            )
        return self.opened

    def execute(self, key: int, action: Execute, *, staging: Path, timeout: float | None = None) -> Execution:
        """Run the algorithm once.

        :param key: the number of the execution.
        :param staging: the folder for the payload files, under their final names.
        :param timeout: in seconds; a child that takes longer is ended.
        :raises AlgorithmFailed: if the algorithm raises, or the process breaks.
        :raises DefinitionError: if it gives no result code, or a setting or payload that cannot be used.
        """
        request = ExecuteRequest(
            key=key,
            runs=action.runs,
            iov=action.iov,
            staging=str(staging),
            settings=action.settings,
            input=action.input,
        )
        answer = self._ask("execute", request, timeout)
        with self._refuse_nonsense():
            payloads = [{k: v for k, v in payload.items() if k != "file"} for payload in answer["payloads"]]
            return Execution(
                key=key,
                runs=action.runs,
                iov=action.iov,
                code=ResultCode.from_json(answer["code"]),
                output=answer["output"],
                payloads=tuple(map(StagedPayload.from_json, payloads)),
                monitored=READ_MONITORED(answer.get("monitored", []), "monitored numbers"),
                figures=READ_FIGURES(answer.get("figures", []), "figures"),
            )

    def find_boundaries(self, action: FindBoundaries, *, timeout: float | None = None) -> tuple[ExpRun, ...]:
        """Ask the algorithm which runs begin a new payload.

        :raises AlgorithmFailed: as `execute`.
        """
        answer = self._ask("boundaries", BoundariesRequest(runs=action.runs, settings=action.settings), timeout)
        with self._refuse_nonsense():
            return _READ_RUNS(answer["boundaries"], "boundaries")

    def close(self) -> None:
        """End the process, kindly first; nothing of it is left."""
        if self._process is not None:
            with contextlib.suppress(CafError):
                # All results are in our hands: how it ends does not matter any more.
                self._ask("close", CloseRequest(), _CLOSE_TIMEOUT)
        self._end()

    def _ask(self, do: str, request: JsonRecord, timeout: float | None) -> dict[str, Any]:
        if self._process is None:
            raise AlgorithmFailed(
                f"The process of the {self._name} is not running.",
                hint="It ended before; open it again.",
                log=str(self._log_path),
            )
        deadline = None if timeout is None else time.monotonic() + timeout
        text = json.dumps({"do": do, **request.to_json()}).encode()
        try:
            self._send(_LENGTH.pack(len(text)) + text, deadline)
            (length,) = _LENGTH.unpack(self._receive(_LENGTH.size, deadline))
            if length > _MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes")
            answer = json.loads(self._receive(length, deadline))
            if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
                raise ValueError("no answer but something else")
        except TimeoutError:
            self._fail(f"did not answer within {timeout:g} s and was ended", was_hanging=True)
        except EOFError:
            self._fail(None)
        except ValueError as error:
            self._fail(f"answered nonsense ({error}) and was ended")
        except BaseException:
            # A signal of Airflow, say. The pipes may hold half a frame now: the process is of no use.
            self._end()
            raise
        self.memory_kb = int(answer.get("memory_kb", 0))
        if not answer["ok"]:
            self._raise_error(answer.get("error"))
        return answer

    def _send(self, data: bytes, deadline: float | None) -> None:
        rest = memoryview(data)
        while rest:
            self._wait(self._to_child, deadline, writing=True)
            try:
                rest = rest[os.write(self._to_child, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise EOFError from None

    def _receive(self, count: int, deadline: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            self._wait(self._from_child, deadline, writing=False)
            try:
                part = os.read(self._from_child, min(count - len(parts), 1 << 20))
            except BlockingIOError:
                continue
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def _wait(self, descriptor: int, deadline: float | None, *, writing: bool) -> None:
        """Wait until a pipe is ready, the child is dead, or the time is over."""
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT if writing else select.POLLIN)
        while True:
            left = _LOOK_INTERVAL if deadline is None else min(_LOOK_INTERVAL, deadline - time.monotonic())
            if left < 0:
                raise TimeoutError
            if poll.poll(left * 1000):
                return
            # A grandchild may hold the pipe of a dead child open: its end alone does not tell.
            if not self.is_alive and not poll.poll(0):
                raise EOFError

    def _fail(self, reason: str | None, *, was_hanging: bool = False) -> NoReturn:
        """End the process and say why.

        :param reason: None: because it is gone, or cannot be spoken to any more.
        """
        process = self._process
        if reason is None and process is not None and not _wait_for_end(process, _END_WAIT):
            reason = "closed its pipes before it answered, and was ended"
        status = self._end()
        self.refuse_stopped()
        hint = "The log has what it printed last."
        if was_hanging:
            hint = "Give the execution more time, or look in the log for what it was doing."
        elif status == -signal.SIGKILL:
            hint = "Was it out of memory? Ask for more, or look at the kernel's messages."
        raise AlgorithmDied(
            f"The process of the {self._name} {reason or describe_exit(status)}.",
            hint=hint,
            log=str(self._log_path),
            log_tail=read_tail(self._log_path),
        )

    def _raise_error(self, error: Any) -> NoReturn:
        """Raise what the child reported. What only a new definition can mend stays a `DefinitionError`."""
        if not isinstance(error, dict) or not isinstance(error.get("message"), str):
            self._fail("answered nonsense (an error without a message) and was ended")
        message, hint = error["message"], error.get("hint")
        kind = getattr(errors, str(error.get("kind")), None)
        if isinstance(kind, type) and issubclass(kind, CafError) and kind is not AlgorithmFailed:
            raise kind(message, hint=hint)
        raise AlgorithmFailed(
            f"The {self._name} raised {message}",
            hint="Correct the algorithm; the whole traceback is in the log.",
            log=str(self._log_path),
            log_tail=cut_tail(str(error.get("traceback", ""))),
        )

    @contextlib.contextmanager
    def _refuse_nonsense(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, TypeError, AttributeError, DefinitionError) as error:
            try:
                self._fail(f"answered nonsense ({type(error).__name__}: {error}) and was ended")
            except AlgorithmFailed as failure:
                raise failure from error

    def _end(self) -> int:
        """End the child with all that it started, and close the pipes.

        :returns: its exit code, or minus its signal.
        """
        process = self._process
        self._close_pipes()
        status = 0
        if process is not None:
            # It sees the end of its pipe and goes, or has gone.
            _wait_for_end(process, _LOOK_INTERVAL)
            process.close()
            status = process.wait()
            self._is_stopped, self._process = process.is_stopped, None
        if self._copies is not None and self._copies.exists():
            shutil.rmtree(self._copies)
        return status

    def _close_pipes(self) -> None:
        for descriptor in (self._to_child, self._from_child, self._life):
            if descriptor >= 0:
                os.close(descriptor)
        self._to_child = self._from_child = self._life = -1


_READ_RUNS = read_list(read_with(ExpRun.from_json))


def _wait_for_end(process: TiedProcess, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not process.has_ended:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def describe_exit(status: int) -> str:
    """Describe how a process ended.

    :param status: its exit code, or minus the signal.
    """
    if status < 0:
        return f"was ended by {name_signal(-status)} (signal {-status})"
    return f"ended with exit code {status} before it answered"
