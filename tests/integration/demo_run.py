"""The one run of the demonstration, which several tests look at."""

from __future__ import annotations

import io
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor

from rich.console import Console

from demo import PROJECT, run_demo
from tests.integration.started_airflow import StartedAirflow


class DemoRun:
    """Take the demonstration's data, and let it run beside what else goes on.

    :param started: where it runs.
    """

    def __init__(self, started: StartedAirflow) -> None:
        self.folder = started.folder
        self.data = started.folder / "data"
        command = [sys.executable, "-W", "ignore", str(PROJECT / "dags" / "demo_detector.py"), str(self.data)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        self._console = Console(file=io.StringIO(), width=120, force_terminal=False)
        with_one = ThreadPoolExecutor(1)
        self._exit_code: Future[int] = with_one.submit(run_demo, started.airflow, self.folder, self.data, self._console)
        with_one.shutdown(wait=False)

    def wait(self) -> tuple[int, str]:
        """Give exit code and output, when it has ended."""
        exit_code = self._exit_code.result()
        assert isinstance(self._console.file, io.StringIO)
        return exit_code, self._console.file.getvalue()
