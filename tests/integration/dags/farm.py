"""Jobs on HTCondor without a shared file system: what the task `submit` shows, and that they come home."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_caf import CAF, Algorithm, Calibration, Collection
from airflow_provider_caf.operators import CollectorSubmitOperator, ConfigureOperator, PrepareOperator
from airflow_provider_caf.sensors import CollectorJobSensor

CALIBRATION = Calibration(
    "far",
    collections={
        "jobs": Collection(["cp", "{input_files}", "out.txt"], "{{ params.file }}", output_patterns=["out.txt"])
    },
    algorithms=Algorithm("counting_calibrators:CountingAlgorithm", "SimpleRunByRun"),
)
DEFINITION = CAF("farm", [CALIBRATION], backend="htcondor", backend_args={"transfer_files": True})

with DAG("farm", schedule=None, params={"file": Param("/nowhere", type="string")}) as dag:
    names: dict[str, Any] = {"calibration": "far", "iteration": 0, "collection": "jobs"}
    configure = ConfigureOperator(task_id="configure", definition=DEFINITION.to_json())
    prepare = PrepareOperator(task_id="prepare", calibration="far")
    submit = CollectorSubmitOperator(task_id="submit", **names)
    configure >> prepare >> submit >> CollectorJobSensor(task_id="wait", **names)
