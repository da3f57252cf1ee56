"""What Airflow learns of this package at its start. Runs in every Airflow process: standard library only."""

from __future__ import annotations

from typing import Any

_NAME = "CAF"
_PACKAGE = "airflow_provider_caf"
_LINKS = ("AlgorithmLogLink", "CafPageLink", "RunFolderLink")
_OPERATORS = (
    "configure",
    "decide",
    "ending",
    "finish",
    "function",
    "jobs",
    "member",
    "merge",
    "own_job",
    "prepare",
    "script",
    "strategy",
    "submit",
)


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description in the form of Airflow's `provider_info.schema.json`."""
    return {
        "package-name": "airflow-provider-caf",
        "name": _NAME,
        "description": "Runs a detector calibration framework (CAF) as DAGs.",
        "integrations": [{"integration-name": _NAME, "tags": ["service"]}],
        "operators": [
            {
                "integration-name": _NAME,
                "python-modules": [f"{_PACKAGE}.operators.{module}" for module in _OPERATORS],
            }
        ],
        "sensors": [
            {
                "integration-name": _NAME,
                "python-modules": [f"{_PACKAGE}.sensors.batch", f"{_PACKAGE}.sensors.collector"],
            }
        ],
        "hooks": [{"integration-name": _NAME, "python-modules": [f"{_PACKAGE}.hooks.batch"]}],
        "triggers": [
            {
                "integration-name": _NAME,
                "python-modules": [f"{_PACKAGE}.triggers.batch", f"{_PACKAGE}.triggers.strategy"],
            }
        ],
        "task-decorators": [{"name": "batch", "class-name": f"{_PACKAGE}.operators.function.batch_task"}],
        "cli": [f"{_PACKAGE}.cli.definition.get_caf_cli_commands"],
        "extra-links": [f"{_PACKAGE}.operators.links.{name}" for name in _LINKS],
        "asset-uris": [{"schemes": ["caf"], "handler": None}],
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
    "definitions_folder": {
        "description": (
            "Folder of definitions that `caf_definitions.py` in the DAG folder loads: YAML, JSON and Python files, "
            "also in folders below. Empty: the folder `definitions` beside that file."
        ),
        "version_added": "0.1.0",
        "type": "string",
        "example": "/data/calibration/definitions",
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
    "poll_interval_min": {
        "description": (
            "Shortest time between two looks at waiting jobs, in seconds. All tasks that wait in one triggerer for the "
            "same batch system share one query."
        ),
        "version_added": "0.1.0",
        "type": "float",
        "example": None,
        "default": "1",
    },
    "poll_interval_max": {
        "description": "Longest time between two looks at waiting jobs, in seconds. Looks are more frequent at first.",
        "version_added": "0.1.0",
        "type": "float",
        "example": None,
        "default": "60",
    },
    "poll_deadline": {
        "description": "Seconds for which a batch system may be silent before a task that waits for its jobs fails.",
        "version_added": "0.1.0",
        "type": "float",
        "example": None,
        "default": "1800",
    },
}


def _describe_batch_connection() -> dict[str, Any]:
    return {
        "connection-type": "caf_batch",
        "hook-class-name": f"{_PACKAGE}.hooks.batch.BatchHook",
        "hook-name": "CAF batch system",
        "ui-field-behaviour": {
            "hidden-fields": ["host", "schema", "login", "password", "port"],
            "relabeling": {},
            "placeholders": {"extra": '{"environment": {"OMP_NUM_THREADS": "1"}}'},
        },
        "conn-fields": _FIELDS,
    }


def _describe(label: str, description: str, kind: str = "string", **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}


_FIELDS: dict[str, dict[str, Any]] = {
    "system": {
        "label": "Batch system",
        "description": "Which system the jobs go to.",
        "schema": {
            "type": "string",
            "enum": ["htcondor", "local", "lsf", "pbs", "slurm", "torque"],
            "default": "local",
        },
    },
    "ssh_conn_id": _describe(
        "SSH connection",
        "Airflow connection of type ssh to the submit host, where the batch commands run then. Empty: they run on "
        "the Airflow workers.",
    ),
    "remote_work_dir": _describe(
        "Work folder of the submit host",
        "Only where the submit host does not see Airflow's work_dir: a folder there, seen by the jobs. Files go there "
        "and come back by sftp.",
        pattern="^/",
    ),
    "queue": _describe("Queue", "Queue or partition."),
    "account": _describe("Account", "Account, project or accounting group."),
    "walltime": _describe("Wall time", "Limit of a job, such as 90m, 2h or HH:MM:SS."),
    "memory": _describe("Memory", "Request of a job: MB, or a text such as 4 GB."),
    "cpus": _describe("CPUs", "Cores of a job.", "integer", minimum=1),
    "disk": _describe("Disk", "Request of a job: MB, or a text such as 10 GB."),
    "throttle": _describe("Jobs at once", "At most so many jobs of one array run at once.", "integer", minimum=1),
    "array_limit": _describe(
        "Array limit", "The most jobs that the site allows in one array; larger ones are cut.", "integer", minimum=1
    ),
    "subjobs_per_job": _describe(
        "Subjobs per job", "So many subjobs run one after the other in one job, or auto: as many as fill some minutes."
    ),
    "exclude_hosts": _describe("Excluded hosts", "Hosts on which no job shall run, separated by commas or spaces."),
    "held": _describe(
        "Held jobs", "What to do with jobs that the system holds.", enum=["wait", "release", "fail", None]
    ),
    "container": _describe("Container", "Image in which jobs run, by apptainer."),
    "python": _describe("Python", "The Python that runs a job; python3 of the job by default."),
    "setup": _describe("Setup commands", "Shell lines that run before every job, such as `source /…/setup.sh`."),
    "extra_lines": _describe("Extra lines", "Lines for the submit file or the directives, as they are."),
    "max_processes": _describe(
        "Processes at once", "Local system only: how many subjobs run at once.", "integer", minimum=1
    ),
}
"""What stands in the form. The other arguments go into `extra`."""
