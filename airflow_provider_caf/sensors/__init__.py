"""Sensors that wait for the subjobs of a collection."""

from airflow_provider_caf.sensors.batch import (
    BatchJobSensor,
    HTCondorJobSensor,
    LocalJobSensor,
    LSFJobSensor,
    PBSJobSensor,
    SlurmJobSensor,
    TorqueJobSensor,
)

__all__ = [
    "BatchJobSensor",
    "HTCondorJobSensor",
    "LSFJobSensor",
    "LocalJobSensor",
    "PBSJobSensor",
    "SlurmJobSensor",
    "TorqueJobSensor",
]
