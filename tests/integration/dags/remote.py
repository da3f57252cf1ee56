"""Calibrations whose jobs run in three places: by ssh with and without a shared file system, and on this machine."""

from __future__ import annotations

from airflow.sdk import Param

from airflow_provider_caf import CAF, Algorithm, Calibration, Collection, build_dag

calibrations = [
    Calibration(
        name,
        collections={"events": Collection("counting_calibrators:CountingCollector", "{{ params.folder }}/*.root")},
        algorithms=Algorithm("counting_calibrators:CountingAlgorithm", "SimpleRunByRun"),
        max_iterations=0,
        connection=connection,
    )
    for name, connection in (("shared", "farm_shared"), ("far", "farm_far"), ("here", None))
]
dag = build_dag(CAF("remote", calibrations), params={"folder": Param("/nowhere", type="string")})
