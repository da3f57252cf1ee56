"""The live view of a run in a terminal: `status`, and the demonstration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from airflow_provider_caf.cli.output import clean
from airflow_provider_caf.cli.table import Column, Table
from airflow_provider_caf.core.durations import describe_seconds
from airflow_provider_caf.status.progress import CalibrationProgress

_COLORS = {"completed": "green", "waiting": "dim", "failed": "bold red", "upstream failed": "red"}

_BAR_WIDTH = 20

_COLUMNS = (
    Column(name="calibration"),
    Column(name="state", least=len("running algorithms")),
    Column(name="pass", goes=4, justify="right"),
    Column(name="subjobs", goes=6, justify="right"),
    Column(name="", goes=0),
    Column(name="failed", goes=5, justify="right"),
    Column(name="IoVs executed", goes=3, justify="right"),
    Column(name="time", goes=2, justify="right"),
    Column(name="checkpoint", goes=1, wraps=True),
)

Progress = Sequence[CalibrationProgress]


def build_table(calibrations: Progress, title: str) -> Table:
    """Build the live view: a row for each calibration."""
    table = Table(title, _COLUMNS)
    for each in calibrations:
        table.add_row(
            each.name,
            Text(each.state, style=_COLORS.get(each.state, "cyan")),
            "" if each.iteration is None else str(each.iteration + 1),
            f"{each.subjobs_done}/{each.subjobs}" if each.subjobs else "",
            ProgressBar(total=each.subjobs, completed=each.subjobs_done, width=_BAR_WIDTH) if each.subjobs else "",
            Text(str(each.subjobs_failed), style="red") if each.subjobs_failed else "",
            str(each.executions) if each.executions else "",
            describe_seconds(round(each.seconds)) if each.seconds else "",
            each.waiting or each.checkpoint or "",
        )
    return table


@contextmanager
def watch(console: Console) -> Iterator[Callable[[Progress, str], None]]:
    """Give a function that shows how far a run is now.

    On a terminal the table changes in its place. Elsewhere each change of a calibration is a line, and the last table
    follows at the end.
    """
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            yield lambda calibrations, title: live.update(build_table(calibrations, title))
        return
    lines: dict[str, str] = {}
    last: list[Table] = []

    def show(calibrations: Progress, title: str) -> None:
        for each in calibrations:
            line = describe(each)
            if lines.get(each.name) != line:
                console.print(f"{time.strftime('%H:%M:%S')}  {line}", markup=False)
            lines[each.name] = line
        last[:] = [build_table(calibrations, title)]

    yield show
    for table in last:
        console.print(table)


def describe(each: CalibrationProgress) -> str:
    """Say in a line how far a calibration is."""
    parts = [each.state]
    if each.iteration is not None:
        parts.append(f"pass {each.iteration + 1}")
    if each.subjobs:
        parts.append(f"{each.subjobs_done}/{each.subjobs} subjobs")
    if each.subjobs_failed:
        parts.append(f"{each.subjobs_failed} failed")
    if each.executions:
        parts.append(f"{each.executions} IoVs executed")
    if each.waiting:
        parts.append(f"waits for {each.waiting}" if each.iteration is None else each.waiting)
    return clean(f"{each.name}: {', '.join(parts)}")
