"""The momentum scale from real dimuon events: for each run, and for both runs together."""

from __future__ import annotations

from airflow.sdk import Param

from airflow_provider_caf import CAF, Algorithm, Calibration, build_dag

calibrations = [
    Calibration(
        name,
        "zmumu_calibrators:DimuonCollector",
        Algorithm("zmumu_calibrators:MomentumScaleAlgorithm", strategy),
        "{{ params.data_folder }}/*.root",
        max_iterations=0,
    )
    for name, strategy in (("by_run", "SimpleRunByRun"), ("together", "SingleIOV"))
]
dag = build_dag(CAF("zmumu", calibrations), params={"data_folder": Param("/nowhere", type="string")})
