"""Sensors that wait for jobs of a task, or for the subjobs of a collection."""

from airflow_provider_caf.sensors.batch import (
    BatchJobSensor,
    HTCondorJobSensor,
    LocalJobSensor,
    LSFJobSensor,
    PBSJobSensor,
    SlurmJobSensor,
    TorqueJobSensor,
)
from airflow_provider_caf.sensors.collector import CollectorJobSensor

__all__ = [
    "BatchJobSensor",
    "CollectorJobSensor",
    "HTCondorJobSensor",
    "LSFJobSensor",
    "LocalJobSensor",
    "PBSJobSensor",
    "SlurmJobSensor",
    "TorqueJobSensor",
]
