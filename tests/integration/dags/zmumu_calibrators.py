"""Collector and algorithm for dimuon events: the mass of a muon pair shows the momentum scale at the Z boson."""

from __future__ import annotations

import math
from typing import Any

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker import Algorithm, Collector, ResultCode

# GeV, Review of Particle Physics
Z_MASS = 91.1876
Z_WIDTH = 2.4952


class DimuonCollector(Collector):
    """Fills the mass of pairs of opposite charge. An event can stand in the data more than once; it counts once."""

    prefix = "Dimuon"

    def prepare(self) -> None:
        import ROOT

        self.seen: set[int] = set()
        self.register("mass", ROOT.TH1D("mass", "dimuon mass;m [GeV];pairs", 120, 60, 120))

    def exp_run(self, event: Any) -> ExpRun:
        # The open data have no experiment number.
        return ExpRun(1, event.Run)

    def collect(self, event: Any) -> None:
        if event.Q1 * event.Q2 < 0 and event.Event not in self.seen:
            self.seen.add(event.Event)
            self.get("mass").Fill(event.M)


class MomentumScaleAlgorithm(Algorithm):
    """Fits the Z peak. Both momenta scaled by s scale the mass by s: the scale is the true mass over the fitted."""

    min_pairs = 100

    def calibrate(self) -> ResultCode:
        import ROOT

        mass = self.get("mass")
        if mass.Integral(mass.FindBin(80.0), mass.FindBin(100.0)) < self.min_pairs:
            return ResultCode.NOT_ENOUGH_DATA
        # The Z's own width is known; the fit finds the resolution.
        shape = ROOT.TF1("shape", f"[0]*TMath::Voigt(x-[1],[2],{Z_WIDTH})+[3]", 80.0, 102.0)
        shape.SetParameters(5 * mass.GetMaximum(), Z_MASS, 1.5, 0.5)
        fit = mass.Fit(shape, "QRSL0")
        if not fit.IsValid():
            return ResultCode.FAILURE
        peak, error = fit.Parameter(1), fit.ParError(1)
        self.save_payload(
            {"value": Z_MASS / peak, "error": Z_MASS / peak * error / peak, "resolution": math.fabs(fit.Parameter(2))},
            "MomentumScale",
        )
        return ResultCode.OK
