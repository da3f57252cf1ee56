"""Collectors and algorithms for definitions in the shapes of real scripts: small numbers instead of physics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_provider_caf.worker import Algorithm, Collector, ResultCode


class GainCollector(Collector):
    """Counts the events of each run, and looks up the constant that the calibration before it has made."""

    prefix = "Gain"
    previous = ""

    def prepare(self) -> None:
        import ROOT

        self.register("gain", ROOT.TH1D("gain", "", 100, 0, 100))

    def start_run(self) -> None:
        self.start = self.get_payload(self.previous)["value"] if self.previous else 0

    def collect(self, event: Any) -> None:
        self.get("gain").Fill(self.start + 0.5)


class GainAlgorithm(Algorithm):
    """Adds one to the constant before it; the collector has brought that along."""

    payload = ""

    def calibrate(self) -> ResultCode:
        self.save_payload({"value": int(self.get("gain").GetMean()) + 1}, self.payload)
        return ResultCode.OK


# Like the other, under names of their own.
class TimeCollector(GainCollector):
    prefix = "Time"


class ShapeCollector(GainCollector):
    prefix = "Shape"


class ResidualCollector(Collector):
    """Fills residuals, and writes a line for each event into a file beside its output, as Millepede does."""

    prefix = "Residual"
    source = ""

    def prepare(self) -> None:
        import ROOT

        self.register("residual", ROOT.TH1D("residual", "", 1, 0, 1))
        self.lines: list[str] = []

    def collect(self, event: Any) -> None:
        self.get("residual").Fill(0.5)
        self.lines.append(f"{self.source} {event.exp}.{event.run} pass {self.iteration}\n")

    def finish(self) -> None:
        Path("residuals.mille").write_text("".join(self.lines))


def double_residuals(algorithm: Algorithm) -> None:
    """Rewrite the collected files before the algorithm reads them."""
    import ROOT

    def rewrite(folder: Any) -> None:
        for key in [*folder.GetListOfKeys()]:
            item = key.ReadObj()
            if item.InheritsFrom("TDirectory"):
                rewrite(item)
            elif item.InheritsFrom("TH1"):
                item.SetDirectory(ROOT.nullptr)
                item.Scale(2.0)
                folder.WriteTObject(item, key.GetName(), "Overwrite")

    for path in algorithm.input_files:
        file = ROOT.TFile.Open(path, "UPDATE")
        rewrite(file)
        file.Close()


class AlignmentAlgorithm(Algorithm):
    """Adds up what it finds in the collected files and beside them, in two passes."""

    def calibrate(self) -> ResultCode:
        lines = [
            line
            for files in self.output_files.values()
            for file in files
            if file.endswith(".mille")
            for line in Path(file).read_text().splitlines()
        ]
        self.save_payload(
            {
                "residuals": self.get("residual").GetSumOfWeights(),
                "lines": len(lines),
                "sources": sorted({line.split()[0] for line in lines}),
                "passes": sorted({int(line.split()[-1]) for line in lines}),
            },
            "Alignment",
        )
        return ResultCode.ITERATE if self.iteration == 0 else ResultCode.OK
