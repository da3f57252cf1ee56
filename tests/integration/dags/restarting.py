"""One calibration for each way to die and each kind of strategy. Their algorithms are slow and tell what they do."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import Param

from airflow_provider_caf import CAF, Algorithm, Calibration, Collection, build_dag

STRATEGIES = Path(__file__).with_name("strategies")

KINDS = {
    "child": Algorithm("restarting_calibrators:SlowAlgorithm", "SequentialRunByRun"),
    "task": Algorithm("restarting_calibrators:SlowAlgorithm", "SequentialRunByRun", workers=2),
    "simple": Algorithm("restarting_calibrators:SlowAlgorithm", "SimpleRunByRun", workers=2),
    "content": Algorithm("restarting_calibrators:SlowAlgorithm", f"{STRATEGIES}/merge_by_content.py:MergeByContent"),
    "stages": Algorithm("restarting_calibrators:SlowAlgorithm", f"{STRATEGIES}/two_stages.py:TwoStages"),
    "experiment": Algorithm("restarting_calibrators:SlowAlgorithm", f"{STRATEGIES}/per_experiment.py:PerExperiment"),
    "job": Algorithm("restarting_calibrators:SlowAlgorithm", "SequentialRunByRun", backend="local"),
    # Its merge goes where the algorithm does, and there waits for the test.
    "merging": Algorithm(
        "counting_calibrators:CountingAlgorithm",
        backend="local",
        backend_args={"environment": {"PYTHONPATH": "{{ params.folder }}"}},
    ),
}

calibrations = [
    Calibration(
        name,
        collections={"events": Collection("counting_calibrators:CountingCollector", "{{ params.folder }}/*.root")},
        algorithms=algorithm,
        max_iterations=0,
    )
    for name, algorithm in KINDS.items()
]
dag = build_dag(CAF("restarting", calibrations), params={"folder": Param("/nowhere", type="string")})
