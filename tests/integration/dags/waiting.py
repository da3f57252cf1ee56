"""One calibration for each way to wait for its jobs, and one that has not the time. The jobs wait for a file `go`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup

from airflow_provider_caf import CAF, Algorithm, Calibration, Collection
from airflow_provider_caf.operators import CollectorSubmitOperator, ConfigureOperator, PrepareOperator
from airflow_provider_caf.sensors import CollectorJobSensor

JOB = """
echo "$$" >> "$1/$2.$3.started"
for _ in $(seq 6000); do
    if [ -e "$1/go" ]; then echo done > out.txt; exit; fi
    sleep 0.2
done
exit 9
"""

WAYS: dict[str, dict[str, Any]] = {
    "deferred": {},
    "polling": {"deferrable": False, "poke_interval": 1},
    # Not shorter: a task that is queued anew before the scheduler has heard of its last end is failed by Airflow.
    "rescheduled": {"deferrable": False, "mode": "reschedule", "poke_interval": 10},
    "hurried": {"timeout": 10},
}

calibrations = [
    Calibration(
        way,
        collections={
            "jobs": Collection(
                ["bash", "-c", JOB, "-", "{{ params.folder }}", way, "{subjob}"],
                arguments=[{"number": 0}, {"number": 1}],
                max_subjobs=2,
                output_patterns=["out.txt"],
            )
        },
        algorithms=Algorithm("counting_calibrators:CountingAlgorithm", "SimpleRunByRun"),
    )
    for way in WAYS
]

with DAG(
    "waiting",
    schedule=None,
    params={"folder": Param("/nowhere", type="string")},
    default_args={"retries": 2, "retry_delay": timedelta(seconds=2)},
) as dag:
    configure = ConfigureOperator(task_id="configure", definition=CAF("waiting", calibrations).to_json())
    for way, settings in WAYS.items():
        names: dict[str, Any] = {"calibration": way, "iteration": 0, "collection": "jobs"}
        with TaskGroup(way):
            prepare = PrepareOperator(task_id="prepare", calibration=way)
            wait = CollectorJobSensor(task_id="wait", **names, **settings)
            configure >> prepare >> CollectorSubmitOperator(task_id="submit", **names) >> wait
