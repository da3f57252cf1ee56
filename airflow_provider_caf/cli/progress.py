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
    for member in calibrations:
        done, total = member.subjobs_done, member.subjobs
        table.add_row(
            member.name,
            Text(member.state, style=_COLORS.get(member.state, "cyan")),
            "" if member.iteration is None else str(member.iteration + 1),
            f"{done}/{total}" if total else "",
            ProgressBar(total=total, completed=done, width=_BAR_WIDTH) if total else "",
            Text(str(member.subjobs_failed), style="red") if member.subjobs_failed else "",
            str(member.executions or ""),
            describe_seconds(round(member.seconds)) if member.seconds else "",
            member.waiting or member.checkpoint or "",
        )
    return table


@contextmanager
def watch(console: Console) -> Iterator[Callable[[Progress, str], None]]:
    """Yield a function that shows how far a run is now.

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
        for member in calibrations:
            line = describe(member)
            if lines.get(member.name) != line:
                console.print(f"{time.strftime('%H:%M:%S')}  {line}", markup=False)
            lines[member.name] = line
        last[:] = [build_table(calibrations, title)]

    yield show
    for table in last:
        console.print(table)


def describe(member: CalibrationProgress) -> str:
    """Return in a line how far a calibration is."""
    parts = [member.state]
    if member.iteration is not None:
        parts.append(f"pass {member.iteration + 1}")
    if member.subjobs:
        parts.append(f"{member.subjobs_done}/{member.subjobs} subjobs")
    if member.subjobs_failed:
        parts.append(f"{member.subjobs_failed} failed")
    if member.executions:
        parts.append(f"{member.executions} IoVs executed")
    if member.waiting:
        parts.append(f"waits for {member.waiting}" if member.iteration is None else member.waiting)
    return clean(f"{member.name}: {', '.join(parts)}")
