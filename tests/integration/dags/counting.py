"""Two calibrations that count events, the second after the first, and a third one on its own."""

from __future__ import annotations

from airflow.sdk import Param

from airflow_provider_caf import CAF, Algorithm, Calibration, Collection, build_dag

calibrations = [
    Calibration(
        name,
        collections={"events": Collection("counting_calibrators:CountingCollector", "{{ params.folder }}/*.root")},
        algorithms=Algorithm("counting_calibrators:CountingAlgorithm", "SimpleRunByRun"),
        max_iterations=1,
        depends_on=depends_on,
    )
    for name, depends_on in (("first", []), ("second", ["first"]), ("alone", []))
]
dag = build_dag(CAF("counting", calibrations), params={"folder": Param("/nowhere", type="string")})
