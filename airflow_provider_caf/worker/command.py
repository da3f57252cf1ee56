"""Run the command of a step: the verb `command`.

The request says `{"version": 1, "argv": […], "folder": …}`. The command takes the place of this process, so the signals
of the batch system reach it, and its end is the end of the job.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_caf.worker.programs import become_program
from airflow_provider_caf.worker.requests import read_request


def main(argv: Sequence[str]) -> int:
    """Run the command of a request in its folder.

    :raises InputError: if it cannot be started.
    """
    parser = argparse.ArgumentParser(prog="command", description="Run the command of a step.")
    parser.add_argument("request", help="path of the request, a JSON file")
    request = read_request(parser.parse_args(argv).request, "request")
    become_program(request["argv"], Path(request["folder"]))
    return 0
