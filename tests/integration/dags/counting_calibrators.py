"""A collector and an algorithm without physics: they count events, and fail where a file tells them to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from airflow_provider_caf.worker import Algorithm, Collector, ResultCode


class CountingCollector(Collector):
    """Counts the events of each run.

    A file `<input file>.fail` makes it fail, a file `slow` beside the input makes it take some seconds.
    """

    prefix = "Counting"

    def prepare(self) -> None:
        import ROOT

        for file in map(Path, self.input_files):
            if file.with_suffix(".fail").exists():
                raise RuntimeError(f"told to fail by {file.with_suffix('.fail').name}")
            if (file.parent / "slow").exists():
                time.sleep(float((file.parent / "slow").read_text()))
        self.register("count", ROOT.TH1D("count", "", 1, 0, 1))

    def collect(self, event: Any) -> None:
        self.get("count").Fill(0.5)


class CountingAlgorithm(Algorithm):
    """Saves how many events there were."""

    def calibrate(self) -> ResultCode:
        self.save_payload({"events": int(self.get("count").GetEntries())}, "Count")
        return ResultCode.OK
