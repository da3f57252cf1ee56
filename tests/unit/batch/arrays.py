"""Arrays on which the tests of all batch systems are done."""

from __future__ import annotations

from typing import Any

from airflow_provider_caf.batch.spec import ArraySpec, CommandResult, Resources, SubmittedArray

FULL = Resources(
    queue="long night",
    account="b2_calib",
    walltime=3601,
    memory=4000,
    cpus=4,
    disk=500,
    throttle=50,
    exclude_hosts=("node-1", "node2.example.org"),
    setup=("source /opt/site.sh",),
    shell="/bin/zsh",
    container="/images/a b.sif",
)
"""Resources with every field that all batch systems know."""


def make_array(name: str = "caf_a", elements: int = 3, **changes: Any) -> ArraySpec:
    """Give an array with one subjob in each element."""
    values: dict[str, Any] = {
        "name": name,
        "folder": f"/w/{name}",
        "input_folder": "/w/in",
        "output_folder": "/w/out",
        "status_folder": "/w/out/status",
        "elements": tuple((subjob,) for subjob in range(elements)),
        "attempt": 0,
        "app": "/w/app.pyz",
        "python": "python3",
    }
    return ArraySpec(**{**values, **changes})


def submit(array: ArraySpec, id: str) -> SubmittedArray:
    """Give an array the id that a batch system has given it."""
    return SubmittedArray(array=array, ids=(id,), submitted="2026-01-01T00:00:00.000Z")


def answer(stdout: str = "", stderr: str = "", exit_code: int = 0, argv: tuple[str, ...] = ("x", "y")) -> CommandResult:
    """Return the result of a command."""
    return CommandResult(argv=argv, exit_code=exit_code, stdout=stdout, stderr=stderr)
