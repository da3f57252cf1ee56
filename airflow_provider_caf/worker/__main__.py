"""The door of the job app: `python3 app.pyz <verb> …`.

Only the module of the asked verb is imported, so a verb that needs no ROOT does not pay for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import airflow_provider_caf
from airflow_provider_caf.core.errors import CafError

_VERBS = {
    "algorithm": "algorithm.serve",
    "collect": "collect.collect",
    "describe": "describe",
    "merge": "collect.merge",
    "metadata": "collect.metadata",
    "pool": "job.pool",
    "script": "basf2.describe_script",
    "subjob": "job.subjob",
    "validate": "basf2.validate_script",
    "values": "algorithm.values",
}

EXIT_ERROR = 1
"""Exit code of a verb that refused its input or could not do its work; the reason is on stderr."""

EXIT_USAGE = 2
"""Exit code for an unknown verb, the same that argparse uses."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and give its exit code.

    :param argv: the verb and its arguments, without the program's name; None: from the command line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in _VERBS:
        given = f"unknown verb {arguments[0]!r}" if arguments else "no verb given"
        sys.stderr.write(f"{given}; use one of: {', '.join(sorted(_VERBS))}\n")
        return EXIT_USAGE
    verb, *rest = arguments
    add_user_modules()
    module = import_module(f"airflow_provider_caf.worker.{_VERBS[verb]}")
    try:
        return int(module.main(rest))
    except CafError as error:
        sys.stdout.flush()
        sys.stderr.write(f"{verb}: {error}\n")
        return EXIT_ERROR


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
