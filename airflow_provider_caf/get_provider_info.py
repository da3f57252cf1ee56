"""What Airflow learns of this package at its start. Runs in every Airflow process: standard library only."""

from __future__ import annotations

from typing import Any

_NAME = "CAF"
_PACKAGE = "airflow_provider_caf"


def get_provider_info() -> dict[str, Any]:
    """Give the provider's description in the form of Airflow's `provider_info.schema.json`."""
    return {
        "package-name": "airflow-provider-caf",
        "name": _NAME,
        "description": "Runs a detector calibration framework (CAF) as DAGs.",
        "integrations": [{"integration-name": _NAME, "tags": ["service"]}],
        "operators": [
            {
                "integration-name": _NAME,
                "python-modules": [
                    f"{_PACKAGE}.operators.{module}"
                    for module in ("prepare", "submit", "merge", "strategy", "decide", "finish")
                ],
            }
        ],
        "sensors": [{"integration-name": _NAME, "python-modules": [f"{_PACKAGE}.sensors.batch"]}],
        "hooks": [
            {"integration-name": _NAME, "python-modules": [f"{_PACKAGE}.hooks.batch", f"{_PACKAGE}.hooks.catalog"]}
        ],
        "triggers": [{"integration-name": _NAME, "python-modules": [f"{_PACKAGE}.triggers.batch"]}],
        "connection-types": [_describe_batch_connection()],
        "config": {"caf": {"description": "Calibrations run by airflow-provider-caf.", "options": _OPTIONS}},
    }


_OPTIONS: dict[str, dict[str, Any]] = {
    "work_dir": {
        "description": (
            "Folder in which runs keep manifests, collected data, logs and local databases. Every worker and every "
            "batch job must see it under the same path. Empty: the folder `caf` in AIRFLOW_HOME."
        ),
        "version_added": "0.1.0",
        "type": "string",
        "example": "/data/calibration/caf",
        "default": "",
    },
    "catalog_conn_id": {
        "description": (
            "Airflow SQL connection of the results catalog. Where no such connection is defined, the catalog is an "
            "SQLite file in work_dir."
        ),
        "version_added": "0.1.0",
        "type": "string",
        "example": "caf_catalog",
        "default": "caf_catalog",
    },
    "defer_after": {
        "description": (
            "Seconds for which a batch sensor watches in the worker before it defers to the triggerer. Short jobs end "
            "within it and need no deferral."
        ),
        "version_added": "0.1.0",
        "type": "float",
        "example": None,
        "default": "20",
    },
    "poll_interval_max": {
        "description": "Longest time between two looks at waiting jobs, in seconds. Looks are more frequent at first.",
        "version_added": "0.1.0",
        "type": "float",
        "example": None,
        "default": "60",
    },
}


def _describe_batch_connection() -> dict[str, Any]:
    def describe(label: str, description: str, **schema: Any) -> dict[str, Any]:
        return {"label": label, "description": description, "schema": schema}

    text = ["string", "null"]
    number = ["integer", "null"]
    return {
        "connection-type": "caf_batch",
        "hook-class-name": f"{_PACKAGE}.hooks.batch.BatchHook",
        "hook-name": "CAF batch system",
        "ui-field-behaviour": {
            "hidden-fields": ["host", "schema", "login", "password", "port"],
            "relabeling": {},
            "placeholders": {"extra": '{"environment": {"OMP_NUM_THREADS": "1"}}'},
        },
        "conn-fields": {
            "system": describe(
                "Batch system", "Which system the jobs go to.", type="string", enum=["local"], default="local"
            ),
            "max_processes": describe(
                "Processes at once", "Local system only: how many subjobs run at once.", type=number, minimum=1
            ),
            "python": describe("Python", "The Python that runs a job; python3 of the job by default.", type=text),
            "setup": describe(
                "Setup commands", "Shell lines that run before every job, such as `source /…/setup.sh`.", type=text
            ),
        },
    }
