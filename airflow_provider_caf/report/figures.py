"""The drawings of a report. Colours are those of Okabe and Ito, which people with any colour vision tell apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from airflow_provider_caf.core.payloads import GapReport
from airflow_provider_caf.io.catalog import PayloadRow
from airflow_provider_caf.report.axis import RunAxis
from airflow_provider_caf.status.series import ConvergencePoint, TrendPoint

BLUE, LIGHT_BLUE, ORANGE, RED, GREY = "#0072b2", "#56b4e9", "#e69f00", "#c2410c", "#9aa4b0"
_WIDTH = 9.0  # inches
_LONGEST_LABEL = 36
_LARGEST = 1e100
"""matplotlib cannot lay out an axis near the end of what a float can be."""

Payloads = Mapping[tuple[str, str], Sequence[PayloadRow]]
"""(calibration, payload) → its final IoVs."""


def draw_map(payloads: Payloads, gaps: Mapping[tuple[str, str], GapReport], axis: RunAxis) -> Figure:
    """Draw a row for each payload, a bar for each IoV, and the executed runs that have none."""
    rows = list(payloads)
    figure = Figure(figsize=(_WIDTH, 1.1 + 0.28 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, key in enumerate(rows):
        spans = [axis.span(row.iov) for row in payloads[key]]
        bars = [(begin, end - begin) for begin, end in spans]
        colours = [BLUE if number % 2 == 0 else LIGHT_BLUE for number in range(len(bars))]
        axes.broken_barh(bars, (place - 0.35, 0.7), facecolors=colours)
        report = gaps.get(key)
        if report is not None:
            holes = [(axis.place(run), 1.0) for run in report.uncovered]
            axes.broken_barh(holes, (place - 0.22, 0.44), facecolors=RED, hatch="////", edgecolor="white", linewidth=0)
    several = len({calibration for calibration, _ in rows}) > 1
    names = [f"{calibration} / {payload}" if several else payload for calibration, payload in rows]
    axes.set_yticks(range(len(rows)), [escape(_shorten(name)) for name in names], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    _set_runs(axes, axis)
    if gaps:
        patches = [
            Patch(color=BLUE, label="payload"),
            Patch(facecolor=RED, hatch="////", edgecolor="white", label="executed run without a payload"),
        ]
        axes.legend(handles=patches, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def draw_trend(points: Sequence[TrendPoint], axis: RunAxis, label: str) -> Figure:
    """Draw a constant against the run, each with its IoV and its error."""
    figure = Figure(figsize=(_WIDTH, 2.8), layout="constrained")
    axes = figure.add_subplot()
    spans = [axis.span(point.iov) for point in points]
    values = [point.value for point in points]
    # Many strokes as one line with breaks: thousands of lines of their own take matplotlib seconds.
    _add_strokes(
        axes, [(begin, value, end, value) for (begin, end), value in zip(spans, values, strict=True)], LIGHT_BLUE
    )
    middles = [(begin + end) / 2 for begin, end in spans]
    bars = [
        (middle, point.value - point.error, middle, point.value + point.error)
        for middle, point in zip(middles, points, strict=True)
        if point.error is not None
    ]
    _add_strokes(axes, bars, BLUE)
    axes.plot(middles, values, "o", markersize=2 if len(points) > 200 else 4, color=BLUE)
    axes.set_ylabel(escape(_shorten(label)), fontsize=8)
    _set_runs(axes, axis)
    _tidy(axes)
    return figure


def draw_convergence(points: Sequence[ConvergencePoint], label: str) -> Figure:
    """Draw a monitored number against the pass; the grey bar reaches from its smallest to its largest value."""
    figure = Figure(figsize=(_WIDTH / 2, 2.4), layout="constrained")
    axes = figure.add_subplot()
    passes = [point.iteration + 1 for point in points]
    values = [point.value for point in points]
    many = [point for point in points if point.count > 1]
    axes.vlines(
        [point.iteration + 1 for point in many],
        [point.low for point in many],
        [point.high for point in many],
        color=GREY,
        linewidth=4,
        alpha=0.6,
    )
    errors = [point.error or 0.0 for point in points]
    axes.errorbar(passes, values, yerr=errors if any(errors) else None, fmt="o-", color=BLUE, markersize=4)
    axes.set_xticks(passes)
    axes.set_xlim(min(passes) - 0.5, max(passes) + 0.5)
    axes.set_xlabel("pass", fontsize=8)
    axes.set_title(escape(_shorten(label)), fontsize=8, loc="left")
    _tidy(axes)
    return figure


def _add_strokes(axes: Axes, strokes: Sequence[tuple[float, float, float, float]], color: str) -> None:
    """Draw strokes of one colour: begin and end of each."""
    across = [number for x1, _, x2, _ in strokes for number in (x1, x2, math.nan)]
    up = [number for _, y1, _, y2 in strokes for number in (y1, y2, math.nan)]
    axes.plot(across, up, color=color, linewidth=1, solid_capstyle="butt")


def is_drawable(*numbers: float | None) -> bool:
    """Return whether an axis can show numbers."""
    return all(number is None or abs(number) <= _LARGEST for number in numbers)


def escape(text: str) -> str:
    """Keep matplotlib from reading formulas: a `$` in a name is a `$`. What no font can show is replaced."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text).replace("$", r"\$")


def _set_runs(axes: Axes, axis: RunAxis) -> None:
    ticks = axis.list_ticks()
    axes.set_xticks([at for at, _ in ticks], [label for _, label in ticks], fontsize=8)
    axes.set_xlim(0, axis.end)
    axes.set_xlabel("experiment and run", fontsize=8)


def _tidy(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"
