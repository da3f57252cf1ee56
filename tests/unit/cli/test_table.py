"""Tables: whole columns go, names are never cut; without a terminal all is plain."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from airflow_provider_caf.cli.plan import _COLUMNS as PLAN_COLUMNS
from airflow_provider_caf.cli.progress import build_table, describe, watch
from airflow_provider_caf.cli.report import build_constant_table, build_payload_table
from airflow_provider_caf.cli.table import Column, Table
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.catalog import SubjobsRow
from airflow_provider_caf.report.compare import ConstantChange, PayloadChange
from airflow_provider_caf.status.progress import AlgorithmProgress, CalibrationProgress

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
from demo_report import Measurement, build_result_table

WIDTHS = (40, 80, 200)
PLACE: Any = {"dag_id": "dag", "run_id": "run", "calibration": "c", "iteration": 1}


def lengthen(name: str) -> str:
    """Give a name of 60 letters."""
    return name.ljust(60, "_")


def make_rows(*names: str) -> list[CalibrationProgress]:
    """Give a calibration that has all, one that has failed, and one that waits for both."""
    first, second, third = names
    counts = SubjobsRow(**PLACE, collection="default", total=100, done=85, failed=3)
    algorithms = (AlgorithmProgress(name="a", state="running", codes={"OK": 7}),)
    return [
        CalibrationProgress(
            name=first,
            state="running algorithms",
            iteration=1,
            collections=(counts,),
            algorithms=algorithms,
            seconds=83,
            checkpoint="merged",
        ),
        CalibrationProgress(name=second, state="failed", iteration=0, collections=(counts,), seconds=61),
        CalibrationProgress(name=third, state="waiting", waiting=f"{first}, {second}"),
    ]


def make_plan(name: str) -> Table:
    table = Table("demo: what a run would do", PLAN_COLUMNS)
    then = "MeanOfAllAlgorithm (SequentialRunByRun), WidthAlgorithm (SingleIOV); up to 5 passes"
    table.add_row(name, "default", "1000 (before the selection)", "12", "100", "9-10", then)
    return table


def make_change(name: str) -> PayloadChange:
    changed = ConstantChange(iov=IoV(7, 1, 7, 3), field=name, first=1.0, second=2.0, pull=2.5)
    return PayloadChange(
        calibration=name, payload="BeamSpot", kind="changed", first=3, second=3, equal=2, changed=(changed,)
    )


def make_measurement(name: str) -> Measurement:
    iov = IoV(7, 1, 8, -1)
    return Measurement(
        calibration=name, payload="SensorOffset", iov=iov, runs=(), value=0.012, error=0.0001, truth=0.0121
    )


def make_tables(name: str) -> dict[str, Table]:
    """Give one of every kind of table that is printed, with a row of this name."""
    return {
        "progress": build_table(make_rows(name, "b", "c"), "the run"),
        "plan": make_plan(name),
        "payloads": build_payload_table([make_change(name)]),
        "constants": build_constant_table(make_change(name)),
        "result": build_result_table([make_measurement(name)]),
    }


def draw(table: Table, width: int, *, is_terminal: bool = True) -> list[str]:
    console = Console(width=width, force_terminal=is_terminal, color_system=None, file=io.StringIO())
    console.print(table, soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("kind", list(make_tables("")))
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["beam_spot", lengthen("beam_spot")])
def test_nothing_is_cut_on_a_terminal(kind: str, width: int, name: str) -> None:
    lines = draw(make_tables(name)[kind], width)
    text = "\n".join(lines)
    assert "…" not in text
    # Of the demonstration's result the calibration may go as a whole: the payload says enough.
    assert name in text or (kind == "result" and name[:5] not in text)
    if len(name) < width:
        # Only the title may be wider than the terminal, which breaks it.
        assert all(cell_len(line) <= width for line in lines[1:])


def test_at_80_columns_bar_and_checkpoint_go_first() -> None:
    names = ("beam_spot", "alignment", "time_offset")
    header, line, *rows = draw(build_table(make_rows(*names), "the run"), 80)[1:]
    assert header.split() == ["calibration", "state", "pass", "subjobs", "failed", "IoVs", "executed"]
    assert set(line) == {"─"}
    assert [row.split()[0] for row in rows] == list(names)
    assert rows[0].split()[1:] == ["running", "algorithms", "2", "85/100", "3", "7"]
    wide = draw(build_table(make_rows(*names), "the run"), 200)[1]
    assert wide.split()[-2:] == ["time", "checkpoint"]


def test_a_long_name_leaves_room_for_the_state_only() -> None:
    lines = draw(build_table(make_rows(lengthen("a"), lengthen("b"), lengthen("c")), "the run"), 80)
    assert lines[1].split() == ["calibration", "state"]
    assert lines[3] == f"{lengthen('a')}  running algorithms"


def test_where_nothing_fits_a_row_becomes_lines() -> None:
    lines = draw(build_table(make_rows(lengthen("a"), "b", "c"), "the run"), 40)
    assert lines[1] == lengthen("a")
    assert lines[2].split() == ["state", "running", "algorithms"]
    assert f"{lengthen('a')}, b" in lines[-1]


@pytest.mark.parametrize("name", ["beam_spot", lengthen("beam_spot")])
def test_plain_output_does_not_depend_on_a_width(name: str) -> None:
    for kind, table in make_tables(name).items():
        drawn = {tuple(draw(table, width, is_terminal=False)) for width in WIDTHS}
        assert len(drawn) == 1, kind
        text = "\n".join(next(iter(drawn)))
        assert re.search(r"[\u2500-\u259f\x1b…]", text) is None, text
        assert name in text
    lines = draw(make_tables(name)["progress"], 80, is_terminal=False)
    assert lines[2].split()[-4:] == ["1", "min", "23", "s"] or lines[2].endswith("merged")
    assert lines[1].endswith("checkpoint")


WORDS = st.text(st.characters(exclude_categories=["C", "Z", "M"]), min_size=1, max_size=30)


@given(st.lists(st.tuples(WORDS, WORDS, st.lists(WORDS, max_size=5).map(" ".join)), min_size=1), st.integers(10, 150))
def test_whatever_is_shown_is_whole(rows: list[tuple[str, str, str]], width: int) -> None:
    table = Table("", (Column(name="n"), Column(name="x", goes=0), Column(name="why", goes=1, wraps=True)))
    for row in rows:
        table.add_row(*row)
    lines = draw(table, width)
    words = {word for line in lines for word in line.split()}
    for name, number, why in rows:
        assert name in words
        # A column is there for all rows or for none.
        for shown, header in ((number, "x"), (why, "why")):
            assert header not in lines[1].split() or set(shown.split()) <= words


def test_text_of_a_job_cannot_steer_the_terminal() -> None:
    table = Table("a\x1b[2J", (Column(name="name"), Column(name="reason", wraps=True)))
    table.add_row("[bold]b\x1b[31m", "first\nsecond\tthird")
    text = "\n".join(draw(table, 80, is_terminal=False))
    assert "\x1b" not in text
    assert "[bold]b\ufffd[31m" in text
    assert "first second third" in text


def test_a_row_has_a_cell_for_every_column() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Table("", (Column(name="a"), Column(name="b"))).add_row("x")


def test_without_a_terminal_every_change_is_a_line() -> None:
    console = Console(force_terminal=False, file=io.StringIO(), soft_wrap=True)
    rows = make_rows("beam_spot", lengthen("alignment"), "gain")
    with watch(console) as show:
        show(rows, "run: running")
        show(rows, "run: running")
        show([CalibrationProgress(name="beam_spot", state="completed", seconds=90), *rows[1:]], "run: success")
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    said = [re.fullmatch(r"\d\d:\d\d:\d\d  (.*)", line) for line in lines[:4]]
    assert [match and match[1] for match in said] == [
        "beam_spot: running algorithms, pass 2, 85/100 subjobs, 3 failed, 7 IoVs executed",
        f"{lengthen('alignment')}: failed, pass 1, 85/100 subjobs, 3 failed",
        f"gain: waiting, waits for beam_spot, {lengthen('alignment')}",
        "beam_spot: completed",
    ]
    assert lines[4] == "run: success"
    assert lines[5].startswith("calibration")


def test_what_a_calibration_is_told_is_in_the_line() -> None:
    row = CalibrationProgress(name="gain", state="collecting", iteration=0, waiting="3 held, 5 running")
    assert describe(row) == "gain: collecting, pass 1, 3 held, 5 running"


SCRIPT = """
from tests.unit.cli.test_table import lengthen, make_rows, make_tables
from airflow_provider_caf.cli.output import find_console, show_reason, show_table
from airflow_provider_caf.cli.progress import watch
name = lengthen("beam_spot")
for table in make_tables(name).values():
    show_table(table)
show_reason("subjob 3: " + "because " * 20 + "[bold]")
with watch(find_console()) as show:
    show(make_rows(name, "b", "c"), "the run")
"""


def run_script(stdout: int | None, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        stdout=subprocess.PIPE if stdout is None else stdout,
        stdin=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "TERM": "xterm-256color", **environment},
    )


@pytest.mark.slow
def test_a_pipe_gets_plain_text_whatever_the_environment_says() -> None:
    process = run_script(None, FORCE_COLOR="1", TTY_COMPATIBLE="1", COLUMNS="40")
    text = process.communicate()[0].decode()
    assert process.returncode == 0
    assert re.search(r"[\u2500-\u259f\x1b\r…]", text) is None, text
    assert text.count(lengthen("beam_spot")) >= 6
    assert "because " * 20 + "[bold]\n" in text


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_real_terminal_shows_whole_names(width: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, width, 0, 0))
    environment = {name: "" for name in ("FORCE_COLOR", "NO_COLOR") if name in os.environ}
    process = run_script(theirs, COLUMNS=str(width), LINES="60", **environment)
    os.close(theirs)
    output = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        output += part
    os.close(ours)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    assert "…" not in text
    assert text.count(lengthen("beam_spot")) >= 4
    reason = text[text.index("subjob 3: ") :].split("[bold]")[0]
    # It is broken between words only.
    assert set(reason.split()) == {"subjob", "3:", "because"}
    assert max(len(line) for line in reason.splitlines()) <= width
