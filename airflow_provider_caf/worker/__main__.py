"""The door of the job app: `python3 app.pyz <verb> …`.

Most verbs carry out a request: `<verb> request.json --output answer.json`. The others have a command line of their own.
Only the module of the verb is imported, so a verb that needs no ROOT does not pay for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import airflow_provider_caf
from airflow_provider_caf.core.errors import CafError

_WORKER = "airflow_provider_caf.worker"

_PROGRAMS = {
    "algorithm": "algorithm.serve",
    "collect": "collect.collect",
    "command": "command",
    "function": "function",
    "pool": "job.pool",
    "strategy": "algorithm.strategy",
    "subjob": "job.subjob",
    "try": "trial",
}
"""Verb → its module, whose `main` gets the arguments and returns the exit code."""

_QUESTIONS = {
    "describe": ("describe", "list of references", True),
    "merge": ("collect.merge", "merge request", False),
    "metadata": ("collect.metadata", "request for metadata", True),
    "pickled-map": ("basf2.pickled_map", "request", True),
    "script": ("basf2.describe_script", "request", True),
    "validate": ("basf2.validate_script", "request", False),
    "values": ("algorithm.values", "request for values", True),
}
"""Verb → its module, what its request is to the reader, and whether it has an answer. `run` of the module gets the
request and returns the answer. A run of an earlier version goes on with its own app, so these command lines never
change."""

EXIT_ERROR = 1
"""Exit code of a verb that refused its input or could not do its work; the reason is on stderr."""

EXIT_USAGE = 2
"""Exit code for an unknown verb, the same that argparse uses."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code.

    :param argv: the verb and its arguments, without the program's name; None: from the command line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbs = sorted([*_PROGRAMS, *_QUESTIONS])
    if not arguments or arguments[0] not in verbs:
        given = f"unknown verb {arguments[0]!r}" if arguments else "no verb given"
        sys.stderr.write(f"{given}; use one of: {', '.join(verbs)}\n")
        return EXIT_USAGE
    verb, *rest = arguments
    add_user_modules()
    try:
        if verb in _QUESTIONS:
            _answer(verb, rest)
            return 0
        return int(import_module(f"{_WORKER}.{_PROGRAMS[verb]}").main(rest))
    except CafError as error:
        from airflow_provider_caf.worker.tracebacks import list_places

        sys.stdout.flush()
        sys.stderr.write("\n".join([f"{verb}: {error}", *list_places(error)]) + "\n")
        return EXIT_ERROR
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything; it is shown
        from airflow_provider_caf.worker.tracebacks import format_error

        sys.stdout.flush()
        sys.stderr.write(format_error(error))
        return EXIT_ERROR


def _answer(verb: str, argv: Sequence[str]) -> None:
    """Read a request, have it carried out, and write the answer in one step.

    What the user's modules print goes where it always goes; the answer has a file of its own.
    """
    # Here, as a short subjob would pay for these imports, too.
    import argparse
    import json
    from pathlib import Path

    from airflow_provider_caf.core.atomic import write_bytes
    from airflow_provider_caf.worker.requests import read_request

    name, noun, has_answer = _QUESTIONS[verb]
    parser = argparse.ArgumentParser(prog=verb, description=f"Carry out a {noun}.")
    parser.add_argument("request", help=f"path of the {noun}, a JSON file")
    if has_answer:
        target = parser.add_mutually_exclusive_group(required=True)
        target.add_argument("--output", help="file for the answer")
        target.add_argument("--out-fd", type=int, help="open file descriptor for the answer")
    options = parser.parse_args(argv)
    module = import_module(f"{_WORKER}.{name}")
    answer = module.run(read_request(options.request, noun))
    if not has_answer:
        return
    data = json.dumps({"version": 1, **answer}, indent=1).encode() + b"\n"
    if options.output is not None:
        write_bytes(Path(options.output), data, "answer")
    else:
        with os.fdopen(options.out_fd, "wb") as stream:
            stream.write(data)


def add_user_modules() -> None:
    """Put the user's modules that travel inside the job app first on the module search path.

    They come first, as the folder of a script does: what the user sent with the job wins over what is
    installed.
    """
    archive = getattr(getattr(airflow_provider_caf, "__loader__", None), "archive", None)
    if archive is not None:
        folder = os.path.join(archive, "user")  # noqa: PTH118 - pathlib would double the start-up time
        if folder not in sys.path:
            sys.path.insert(0, folder)


if __name__ == "__main__":
    sys.exit(main())
