"""The live view of a run in a terminal: `status`, and the demonstration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from airflow_provider_caf.core.durations import describe_seconds
from airflow_provider_caf.status.progress import CalibrationProgress

_COLORS = {"completed": "green", "waiting": "dim", "failed": "bold red", "upstream failed": "red"}


def build_table(calibrations: Iterable[CalibrationProgress], title: str) -> Table:
    """Build the live view: a row for each calibration."""
    table = Table(title=title, title_justify="left", expand=False)
    table.add_column("calibration")
    # As wide as the longest state, so that the table does not jump.
    table.add_column("state", min_width=len("running algorithms"))
    table.add_column("pass", justify="right")
    table.add_column("subjobs", justify="right")
    table.add_column("", width=20)
    table.add_column("failed", justify="right")
    table.add_column("IoVs executed", justify="right")
    table.add_column("time", justify="right")
    table.add_column("checkpoint")
    for each in calibrations:
        bar: Any = ProgressBar(total=each.subjobs, completed=each.subjobs_done, width=20) if each.subjobs else ""
        table.add_row(
            each.name,
            Text(each.state, style=_COLORS.get(each.state, "cyan")),
            "" if each.iteration is None else str(each.iteration + 1),
            f"{each.subjobs_done}/{each.subjobs}" if each.subjobs else "",
            bar,
            Text(str(each.subjobs_failed), style="red") if each.subjobs_failed else "",
            str(each.executions) if each.executions else "",
            describe_seconds(round(each.seconds)) if each.seconds else "",
            each.waiting or each.checkpoint or "",
        )
    return table
