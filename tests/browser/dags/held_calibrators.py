"""The demonstration's beam spot, which stops half-way for as long as the test looks at it."""

from __future__ import annotations

import time
from pathlib import Path

import demo_calibrators
from airflow_provider_caf.worker import ResultCode


class BeamSpotAlgorithm(demo_calibrators.BeamSpotAlgorithm):
    """Waits for a file before its execution number `free`, counted from 0."""

    free = 7
    done = 0

    def calibrate(self) -> ResultCode:
        until = time.monotonic() + 1200
        while self.done >= self.free and not Path("resume").exists() and time.monotonic() < until:
            time.sleep(0.1)
        self.done += 1
        return super().calibrate()
