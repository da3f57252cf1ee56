"""Arrays on which the tests of all batch systems are done."""

from __future__ import annotations

from collections.abc import Sequence
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


def make_array(
    name: str = "caf_a", elements: int | Sequence[Sequence[int]] = 3, root: str = "/w", **changes: Any
) -> ArraySpec:
    """Return an array.

    :param elements: the subjobs of each element, or how many elements with one subjob each.
    :param root: the folder in which all its paths are.
    """
    if isinstance(elements, int):
        elements = tuple((subjob,) for subjob in range(elements))
    values: dict[str, Any] = {
        "name": name,
        "folder": f"{root}/{name}",
        "input_folder": f"{root}/in",
        "output_folder": f"{root}/out",
        "status_folder": f"{root}/out/status",
        "elements": tuple(map(tuple, elements)),
        "attempt": 0,
        "app": f"{root}/app.pyz",
        "python": "python3",
    }
    return ArraySpec(**{**values, **changes})


def submit(array: ArraySpec, id: str = "1") -> SubmittedArray:
    """Return an array with the id that a batch system has given it."""
    return SubmittedArray(array=array, ids=(id,), submitted="2026-01-01T00:00:00.000Z")


def answer(stdout: str = "", stderr: str = "", exit_code: int = 0, argv: tuple[str, ...] = ("x", "y")) -> CommandResult:
    """Return the result of a command."""
    return CommandResult(argv=argv, exit_code=exit_code, stdout=stdout, stderr=stderr)
