"""`report` and `compare`: a run as a file, and what has changed from one run to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_provider_caf.cli.look import find_layout
from airflow_provider_caf.cli.output import command, show_json, show_table, show_text
from airflow_provider_caf.cli.table import Column, Table
from airflow_provider_caf.report.compare import PayloadChange, compare_runs
from airflow_provider_caf.site.places import find_catalog, find_work_dir
from airflow_provider_caf.status.airflow_run import RunRow, read_run

_MOST_CONSTANTS = 40


@command
def report(arguments: Any) -> None:
    """Write the report of a run, and print its path."""
    from airflow_provider_caf.report.build import write_report

    run = read_run(arguments.dag_id, arguments.run_id)
    folder = find_layout(run).report_folder if arguments.output is None else Path(arguments.output)
    show_text(str(write_report(run, find_catalog(find_work_dir()), folder)))


@command
def compare(arguments: Any) -> None:
    """Show payload by payload what has changed from one run to another."""
    first, second = (find_run(name) for name in (arguments.first, arguments.second))
    catalog = find_catalog(find_work_dir())
    changes = compare_runs(catalog, (first.dag_id, first.run_id), (second.dag_id, second.run_id))
    names = [f"{run.dag_id}/{run.run_id}" for run in (first, second)]
    if arguments.as_json:
        show_json({"first": names[0], "second": names[1], "payloads": [each.to_json() for each in changes]})
        return
    show_text(f"first:  {names[0]}\nsecond: {names[1]}")
    if not changes:
        show_text("Neither run has final payloads.")
        return
    show_table(build_payload_table(changes))
    for each in changes:
        if each.changed:
            show_text("")
            show_table(build_constant_table(each))
            if len(each.changed) > _MOST_CONSTANTS:
                show_text(f"{len(each.changed) - _MOST_CONSTANTS} more: --json shows them.")


def find_run(name: str) -> RunRow:
    """Find a run by `<dag id>/<run id>`, or the newest one of a DAG by its id.

    :raises CafError: if there is no such DAG or run.
    """
    dag_id, _, run_id = name.partition("/")
    return read_run(dag_id, run_id or None)


def build_payload_table(changes: list[PayloadChange]) -> Table:
    """Give a line for each payload."""
    table = Table(
        "Payloads",
        (
            Column(name="calibration"),
            Column(name="payload"),
            Column(name="is"),
            Column(name="IoVs first", goes=0, justify="right"),
            Column(name="IoVs second", goes=1, justify="right"),
            Column(name="equal", goes=2, justify="right"),
            Column(name="IoVs moved", goes=3, justify="right"),
            Column(name="constants changed", goes=5, justify="right"),
            Column(name="largest pull", goes=4, justify="right"),
        ),
    )
    for each in changes:
        pulls = [abs(one.pull) for one in each.changed if one.pull is not None]
        changed = str(len(each.changed)) + (f" and {each.opaque} unknown" if each.opaque else "")
        table.add_row(
            each.calibration,
            each.payload,
            each.kind,
            *(str(number) for number in (each.first, each.second, each.equal, len(each.moved))),
            changed,
            f"{max(pulls):.2f}" if pulls else "",
        )
    return table


def build_constant_table(change: PayloadChange) -> Table:
    """Give a line for each constant that differs, the largest pulls first."""
    ranked = sorted(change.changed, key=lambda each: -abs(each.pull or 0.0))
    table = Table(
        f"{change.calibration} / {change.payload}",
        (
            Column(name="IoV"),
            Column(name="constant"),
            Column(name="first", goes=0, justify="right"),
            Column(name="second", goes=1, justify="right"),
            Column(name="difference", goes=3, justify="right"),
            Column(name="pull", goes=2, justify="right"),
        ),
    )
    for each in ranked[:_MOST_CONSTANTS]:
        pull = "" if each.pull is None else f"{each.pull:+.2f}"
        numbers = ("–" if number is None else f"{number:.6g}" for number in (each.first, each.second, each.difference))
        table.add_row(str(each.iov), each.field, *numbers, pull)
    return table
