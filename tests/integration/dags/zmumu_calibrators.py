"""Collector and algorithm for dimuon events: the mass of a muon pair shows the momentum scale at the Z boson."""

from __future__ import annotations

import math
from typing import Any

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker import Algorithm, Collector, ResultCode

Z_MASS = 91.1876  # GeV, Review of Particle Physics


class DimuonCollector(Collector):
    """Fills the mass of pairs of opposite charge."""

    prefix = "Dimuon"

    def prepare(self) -> None:
        import ROOT

        self.register("mass", ROOT.TH1D("mass", "dimuon mass;m [GeV];pairs", 120, 60, 120))

    def exp_run(self, event: Any) -> ExpRun:
        # The open data have no experiment number.
        return ExpRun(1, event.Run)

    def collect(self, event: Any) -> None:
        if event.Q1 * event.Q2 < 0:
            self.get("mass").Fill(event.M)


class MomentumScaleAlgorithm(Algorithm):
    """Fits the Z peak. Both momenta scaled by s scale the mass by s: the scale is the true mass over the fitted."""

    min_pairs = 100

    def calibrate(self) -> ResultCode:
        import ROOT

        mass = self.get("mass")
        if mass.Integral(mass.FindBin(80.0), mass.FindBin(100.0)) < self.min_pairs:
            return ResultCode.NOT_ENOUGH_DATA
        shape = ROOT.TF1("shape", "gaus(0) + pol1(3)", 82.0, 100.0)
        shape.SetParameters(mass.GetMaximum(), Z_MASS, 2.5, 1.0, 0.0)
        fit = mass.Fit(shape, "QRSL0")
        if not fit.IsValid():
            return ResultCode.FAILURE
        peak, error = fit.Parameter(1), fit.ParError(1)
        self.save_payload(
            {"value": Z_MASS / peak, "error": Z_MASS / peak * error / peak, "width": math.fabs(fit.Parameter(2))},
            "MomentumScale",
        )
        return ResultCode.OK
