"""`report` and `compare`: a run as a file, and what has changed from one run to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_provider_caf.cli.look import find_layout
from airflow_provider_caf.cli.output import command, show_json, show_table, show_text
from airflow_provider_caf.cli.table import Table, build_columns
from airflow_provider_caf.report.compare import PayloadChange, compare_runs
from airflow_provider_caf.site.places import find_catalog, open_journal
from airflow_provider_caf.status.airflow_run import RunRow, read_run

_MOST_CONSTANTS = 40

_PAYLOAD_NUMBERS = {
    "IoVs first": 0,
    "IoVs second": 1,
    "equal": 2,
    "IoVs moved": 3,
    "constants changed": 5,
    "largest pull": 4,
}
_PAYLOAD_COLUMNS = build_columns("calibration", "payload", "is", **_PAYLOAD_NUMBERS)
_CONSTANT_COLUMNS = build_columns("IoV", "constant", first=0, second=1, difference=3, pull=2)


@command
def report(arguments: Any) -> None:
    """Write the report of a run, and print its path."""
    from airflow_provider_caf.report.build import write_report

    run = read_run(arguments.dag_id, arguments.run_id)
    layout = find_layout(run)
    if layout.folder.exists():
        open_journal(layout).deliver()
    folder = layout.report_folder if arguments.output is None else Path(arguments.output)
    show_text(str(write_report(run, find_catalog(), folder, layout.folder)))


@command
def compare(arguments: Any) -> None:
    """Show payload by payload what has changed from one run to another."""
    first, second = (find_run(name) for name in (arguments.first, arguments.second))
    catalog = find_catalog()
    changes = compare_runs(catalog, first.place, second.place)
    names = [f"{run.dag_id}/{run.run_id}" for run in (first, second)]
    if arguments.as_json:
        show_json({"first": names[0], "second": names[1], "payloads": [change.to_json() for change in changes]})
        return
    show_text(f"first:  {names[0]}\nsecond: {names[1]}")
    if not changes:
        show_text("Neither run has final payloads.")
        return
    show_table(build_payload_table(changes))
    for change in changes:
        if change.changed:
            show_text("")
            show_table(build_constant_table(change))
            if len(change.changed) > _MOST_CONSTANTS:
                show_text(f"{len(change.changed) - _MOST_CONSTANTS} more: --json shows them.")


def find_run(name: str) -> RunRow:
    """Find a run by `<dag id>/<run id>`, or the newest one of a DAG by its id.

    :raises CafError: if there is no such DAG or run.
    """
    dag_id, _, run_id = name.partition("/")
    return read_run(dag_id, run_id or None)


def build_payload_table(changes: list[PayloadChange]) -> Table:
    """Build a table with a line for each payload."""
    table = Table("Payloads", _PAYLOAD_COLUMNS)
    for change in changes:
        pulls = [abs(constant.pull) for constant in change.changed if constant.pull is not None]
        counts = (change.first, change.second, change.equal, len(change.moved))
        changed = str(len(change.changed)) + (f" and {change.opaque} unknown" if change.opaque else "")
        largest = f"{max(pulls):.2f}" if pulls else ""
        table.add_row(change.calibration, change.payload, change.kind, *map(str, counts), changed, largest)
    return table


def build_constant_table(change: PayloadChange) -> Table:
    """Build a table with a line for each constant that differs, the largest pulls first."""
    ranked = sorted(change.changed, key=lambda constant: -abs(constant.pull or 0.0))
    table = Table(f"{change.calibration} / {change.payload}", _CONSTANT_COLUMNS)
    for constant in ranked[:_MOST_CONSTANTS]:
        numbers = (constant.first, constant.second, constant.difference)
        shown = ("–" if number is None else f"{number:.6g}" for number in numbers)
        pull = "" if constant.pull is None else f"{constant.pull:+.2f}"
        table.add_row(str(constant.iov), constant.field, *shown, pull)
    return table
