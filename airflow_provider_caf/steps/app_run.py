"""Put a request to a verb of a job app, in a process in the environment of a job, and read the answer.

The app may be of an earlier version than this side: it lies in the folder of a run. So the command line of a verb never
changes: `<verb> <request>`, and `--output <answer>` where it has an answer; see `worker/__main__.py`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.spec import Command, Resources
from airflow_provider_caf.batch.wrapper import build_site_argv
from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import CafError, TransportError
from airflow_provider_caf.core.files import PRIVATE, read_json, write_json
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.signals import name_signal
from airflow_provider_caf.core.tails import cut_tail
from airflow_provider_caf.jobs.transport.base import Transport
from airflow_provider_caf.jobs.transport.local import LocalTransport


def build_app_argv(app: Path, resources: Resources) -> tuple[str, ...]:
    """Return what runs a job app: the job's Python, or ours where none is named."""
    return (resources.python or sys.executable, str(app))


@record
class AppFiles:
    """Where the files of a request lie that stay.

    :param answer: None: the verb has no answer, as it leaves its results elsewhere.
    :param log: for all that is printed; None: only its end is kept, and shown if the verb fails.
    """

    request: Path
    answer: Path | None
    log: Path | None = None


@record
class Answer:
    """What a verb answered.

    :param value: None if it has no answer.
    :param printed: the last lines that it printed.
    """

    value: Any
    printed: str


def run_app(
    verb: str,
    request: Mapping[str, Any],
    app: Path,
    resources: Resources,
    *,
    what: str,
    timeout: float,
    hint: str | None = None,
    error: type[CafError] = TransportError,
    files: AppFiles | None = None,
    transport: Transport | None = None,
) -> Answer:
    """Put a request to a verb, with the site's setup in front. It ends when this process does.

    :param request: without its version, which this adds.
    :param what: what this is to the reader, at the beginning of a sentence.
    :param timeout: in seconds.
    :param hint: what to do if it fails.
    :param error: what is raised then.
    :param files: None: they are removed afterwards.
    :param transport: None: it runs on this machine.
    :raises CafError: of the type `error`, with what was printed last, if the verb fails or leaves no answer.
    :raises TransportError: if it cannot be started or takes too long.
    """
    with ExitStack() as stack:
        if files is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"caf-{verb}-")))
            files = AppFiles(request=folder / "request.json", answer=folder / "answer.json")
        write_json(files.request, {"version": 1, **request}, mode=PRIVATE)
        words = [*build_app_argv(app, resources), verb, str(files.request)]
        if files.answer is not None:
            files.answer.unlink(missing_ok=True)
            words += ["--output", str(files.answer)]
        argv = build_site_argv(resources, words)
        command = Command(argv=argv, environment=resources.environment, timeout=timeout, is_tied=True)
        result = (transport or LocalTransport()).run(command)
        printed = result.stdout + result.stderr
        if files.log is not None:
            write_bytes(files.log, printed.encode("utf-8", "replace"), durable=False, mode=PRIVATE)
        if result.exit_code != 0 or not (files.answer is None or files.answer.exists()):
            raise error(f"{what} {_describe_end(result.exit_code)}:\n{cut_tail(printed)}", hint=hint)
        value = None if files.answer is None else read_json(files.answer, f"The answer of the verb {verb!r}")
    return Answer(value=value, printed=cut_tail(printed))


def _describe_end(exit_code: int) -> str:
    if exit_code < 0:
        return f"ended with {name_signal(-exit_code)}"
    return f"ended with exit code {exit_code}" + ("" if exit_code else " and left no answer")
