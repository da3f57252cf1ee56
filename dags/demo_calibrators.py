"""The collectors and algorithms of the demonstration.

They run inside jobs: this module imports ROOT only when it is used, and Airflow never.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker import Algorithm, Collector, ResultCode

CHARGE_SLOPE = 5.0  # per cm: how the charge grows with the distance from the sensor's middle


def measure_mean(histogram: Any) -> tuple[float, float]:
    """Return mean and its standard error of a histogram with two entries or more, from its sums and not its bins."""
    # The width around a mean of the same entries is too small; one less in the denominator makes up for it.
    return histogram.GetMean(), histogram.GetStdDev() / math.sqrt(histogram.GetEffectiveEntries() - 1)


def propagate_spot_errors(algorithm: Algorithm, hits: Mapping[ExpRun, float]) -> float:
    """Return the error that the beam spots bring to a mean over the hits of some runs, in cm.

    Runs that were joined have one beam spot: its error is common to them.

    :param hits: the number of hits in each run.
    """
    shares: dict[tuple[float, float], float] = defaultdict(float)
    for run, count in hits.items():
        spot = algorithm.get_payload("BeamSpot", run)
        shares[spot["value"], spot["error"]] += count / sum(hits.values())
    return math.sqrt(sum((share * error) ** 2 for (_, error), share in shares.items()))


def draw(histogram: Any) -> Any:
    """Return a canvas with a histogram on it."""
    import ROOT

    canvas = ROOT.TCanvas(histogram.GetName(), "", 700, 450)
    histogram.Draw("hist")
    canvas.Update()
    return canvas


class VertexCollector(Collector):
    """Fills the measured vertex position, in cm."""

    prefix = "Vertex"

    def prepare(self) -> None:
        import ROOT

        self.register("vertex_x", ROOT.TH1D("vertex_x", "vertex;x [cm];tracks", 300, -0.1, 0.2))

    def collect(self, event: Any) -> None:
        self.get("vertex_x").Fill(event.vertex_x)


class BeamSpotAlgorithm(Algorithm):
    """Mean vertex position: the beam spot, in cm."""

    min_tracks = 400

    def calibrate(self) -> ResultCode:
        vertex = self.get("vertex_x")
        if vertex.GetEntries() < self.min_tracks:
            return ResultCode.NOT_ENOUGH_DATA
        value, error = measure_mean(vertex)
        self.monitor("beam spot [cm]", value, error)
        self.save_payload({"value": value, "error": error}, "BeamSpot")
        return ResultCode.OK


class HitCollector(Collector):
    """Fills the distance of hits from the beam spot, in cm, near the offset found so far."""

    prefix = "Hits"
    window = 0.016  # four resolutions: a narrower one cuts the tails, and pulls the mean to where the window was

    def prepare(self) -> None:
        import ROOT

        self.register("residual", ROOT.TH1D("residual", "residual;x - spot [cm];hits", 400, -0.05, 0.05))

    def start_run(self) -> None:
        self.spot = self.get_payload("BeamSpot", self.current_run)["value"]
        self.centre = self.get_payload("SensorOffset", self.current_run)["value"] if self.iteration else 0.0

    def collect(self, event: Any) -> None:
        residual = event.hit_x - self.spot
        if abs(residual - self.centre) < self.window:
            self.get("residual").Fill(residual)


class AlignmentAlgorithm(Algorithm):
    """Offset of the sensor, in cm. Asks for another pass until the window sits on the peak.

    `spot_error` of its payload is the part of the error that comes from the beam spots.
    """

    tolerance = 0.0003

    def calibrate(self) -> ResultCode:
        residual = self.get("residual")
        value, error = measure_mean(residual)
        before = self.get_payload("SensorOffset", self.runs[0])["value"] if self.iteration else 0.0
        hits = {run: self.get("residual", runs=[run]).GetEffectiveEntries() for run in self.runs}
        spot_error = propagate_spot_errors(self, hits)
        error = math.hypot(error, spot_error)
        self.monitor("offset [cm]", value, error)
        self.monitor("change [cm]", abs(value - before))
        self.monitor("width of the residuals [cm]", residual.GetStdDev(), residual.GetStdDevError())
        self.add_figure("residuals", draw(residual))
        offset = {"value": value, "error": error, "spot_error": spot_error, "change": value - before}
        self.save_payload(offset, "SensorOffset")
        return ResultCode.OK if abs(value - before) < self.tolerance else ResultCode.ITERATE


class TimeCollector(Collector):
    """Fills the hit time, in ns."""

    prefix = "Time"

    def prepare(self) -> None:
        import ROOT

        self.register("time", ROOT.TH1D("time", "hit time;t [ns];hits", 400, 0, 25))

    def collect(self, event: Any) -> None:
        self.get("time").Fill(event.time)


class TimeOffsetAlgorithm(Algorithm):
    """Mean hit time of each run, in ns."""

    def calibrate(self) -> ResultCode:
        if self.get("time").GetEffectiveEntries() < 2:
            return ResultCode.NOT_ENOUGH_DATA  # one hit has no width
        value, error = measure_mean(self.get("time"))
        self.save_payload({"value": value, "error": error}, "TimeOffset")
        return ResultCode.OK


class ChargeCollector(Collector):
    """Fills the charge, in units of what is expected at gain 1, and keeps the high voltage of the run."""

    expected_charge = 1.0  # ADC counts; the definition sets it

    def prepare(self) -> None:
        import ROOT

        self.register("gain", ROOT.TH1D("gain", "charge / expected;gain;hits", 400, 0, 2.5))
        self.register("voltage", ROOT.TProfile("voltage", "high voltage;;U [V]", 1, 0, 1))

    def start_run(self) -> None:
        self.middle = (
            self.get_payload("BeamSpot", self.current_run)["value"]
            + self.get_payload("SensorOffset", self.current_run)["value"]
        )

    def collect(self, event: Any) -> None:
        expected = self.expected_charge * (1.0 + CHARGE_SLOPE * (event.hit_x - self.middle))
        self.get("gain").Fill(event.charge / expected)
        self.get("voltage").Fill(0.5, event.voltage)


class MuonChargeCollector(ChargeCollector):
    """The charge of muons."""

    prefix = "MuonCharge"


class ElectronChargeCollector(ChargeCollector):
    """The charge of electrons."""

    prefix = "ElectronCharge"


class GainAlgorithm(Algorithm):
    """Gain of the sensor, from muons and electrons together. A new payload begins where the voltage changed."""

    prefix = "MuonCharge"
    prefixes = ("MuonCharge", "ElectronCharge")
    voltage_step = 5.0  # V

    def calibrate(self) -> ResultCode:
        muons, electrons = (measure_mean(self.get("gain", prefix=prefix)) for prefix in self.prefixes)
        weights = [1 / error**2 for _, error in (muons, electrons)]
        value = (muons[0] * weights[0] + electrons[0] * weights[1]) / sum(weights)
        # An error of the middle is common to muons and electrons.
        error = math.hypot(1 / math.sqrt(sum(weights)), CHARGE_SLOPE * value * self._propagate_middle_error())
        self.monitor("muons / electrons", muons[0] / electrons[0])
        self.save_payload({"value": value, "error": error}, "SensorGain")
        return ResultCode.OK

    def _propagate_middle_error(self) -> float:
        """Return the error of the sensor's middle, beam spot plus offset, averaged over the hits, in cm.

        The two are not independent, as the offset is measured from the beam spots. There each spot has its share f of
        the hits, and f is as 1/e², e being the spot's error. So f·e² is the same for every spot, and it is the square
        of `spot_error`: this is the covariance of offset and any mean of spots, and it is negative.
        """
        hits = {
            run: sum(self.get("gain", runs=[run], prefix=prefix).GetEffectiveEntries() for prefix in self.prefixes)
            for run in self.runs
        }
        offset = self.get_payload("SensorOffset")
        own = propagate_spot_errors(self, hits)
        return math.sqrt(own**2 + offset["error"] ** 2 - 2 * offset["spot_error"] ** 2)

    def prepare_boundaries(self, runs: tuple[ExpRun, ...]) -> None:
        self.last_voltage = -math.inf

    def is_boundary_required(self, run: ExpRun) -> bool:
        voltage = float(self.get("voltage").GetBinContent(1))
        is_new: bool = abs(voltage - self.last_voltage) > self.voltage_step
        self.last_voltage = voltage
        return is_new
