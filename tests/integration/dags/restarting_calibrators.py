"""An algorithm that takes its time, and writes down each execution with the process that did it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from airflow_provider_caf.worker import Algorithm, ResultCode

FREE = 3
"""So many executions end by themselves; the next ones wait until the test has killed what it wants to kill."""


def is_to_be_killed() -> bool:
    return len(Path("executed.jsonl").read_text().splitlines()) > FREE and not Path("resume").exists()


class SlowAlgorithm(Algorithm):
    """Counts events; runs with few of them see few channels."""

    force = False
    stage = "measure"
    least = 1

    def calibrate(self) -> ResultCode:
        entries = int(self.get("count").GetEntries())
        note = {"pid": os.getpid(), "runs": self.runs, "force": self.force, "stage": self.stage}
        with Path("executed.jsonl").open("a") as notes:
            notes.write(json.dumps(note) + "\n")
        # Long enough to be killed in the middle, and no longer.
        until = time.monotonic() + 1200
        while is_to_be_killed() and time.monotonic() < until:
            time.sleep(0.1)
        self.output = {"entries": entries, "channels": list(range(entries))}
        if entries < self.least:
            return ResultCode.NOT_ENOUGH_DATA
        self.save_payload({"entries": entries, "stage": self.stage}, "Slow")
        return ResultCode.OK
