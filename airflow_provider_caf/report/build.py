"""One DAG run as one HTML file that needs nothing beside it, and its drawings as PNG and PDF."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.durations import describe_seconds
from airflow_provider_caf.core.errors import CafError, DatabaseError, explain_os_error
from airflow_provider_caf.core.files import write_text
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.record import record
from airflow_provider_caf.io.catalog import Catalog, JsonValue, describe_waiting
from airflow_provider_caf.io.catalog import rows as db
from airflow_provider_caf.report.axis import RunAxis
from airflow_provider_caf.report.figures import Payloads, draw_convergence, draw_map, draw_trend, is_drawable
from airflow_provider_caf.status.airflow_run import RunRow
from airflow_provider_caf.status.progress import CalibrationProgress, read_progress
from airflow_provider_caf.status.series import (
    TrendPoint,
    build_convergence,
    build_trends,
    find_payload_gaps,
    find_shown_runs,
    group_payloads,
    list_constants,
)

REPORT_FILE = "report.html"
FIGURES_FOLDER = "figures"
MOST_TRENDS = 40
MOST_CONVERGENCES = 40
MOST_FIGURES = 30
MOST_FIGURE_BYTES = 3_000_000
MOST_RESULTS = 500
MOST_FAILURES = 50
MOST_BARS = 60
"""Rows of the IoV map."""

_RESOLUTION = 110  # dots per inch
_LONGEST_VALUE = 300
_LONGEST_FILE_NAME = 100
_MARK = "airflow-provider-caf report"
"""Stands in every drawing that we write, so that a later report removes no picture of somebody else."""

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@record
class Drawing:
    """A drawing of the report.

    :param source: the picture as a data address.
    """

    title: str
    source: str


@record
class Shown:
    """Some of many things, and how many they are."""

    items: Sequence[Any]
    total: int

    @property
    def left_out(self) -> int:
        """The number of items that are not shown."""
        return self.total - len(self.items)


def write_report(run: RunRow, catalog: Catalog, folder: Path, run_folder: Path | None = None) -> Path:
    """Write `report.html`, and the drawings into `figures/` beside it, and return the report's path.

    A report that is there is replaced, and so are its drawings. Other files are left alone.

    :param run: what Airflow knows of the run; its tasks may be known by their states alone.
    :param catalog: holds all else.
    :param folder: is made where it is not there.
    :param run_folder: of the run, where what the catalog has not got yet would lie; None: there is no such folder.
    :raises CafError: if it cannot be written.
    :raises DatabaseError: if the catalog cannot be read.
    """
    _make_folder(folder)
    writer = _Writer(folder / FIGURES_FOLDER)
    behind = None if run_folder is None else describe_waiting(run_folder)
    path = _write(folder, "report.html.j2", {**_collect(run, catalog, writer), "behind": behind})
    writer.remove_others()
    return path


def write_excuse(dag_id: str, run_id: str, error: DatabaseError, folder: Path) -> Path:
    """Write a page in the place of the report that says why there is none yet and how it is made, and return its path.

    :param error: with which the catalog was not read.
    :raises CafError: if it cannot be written.
    """
    _make_folder(folder)
    command = shlex.join(["airflow", "caf", "report", dag_id, run_id])
    return _write(folder, "excuse.html.j2", {"dag_id": dag_id, "run_id": run_id, "error": error, "command": command})


def _write(folder: Path, template: str, content: Mapping[str, Any]) -> Path:
    path = folder / REPORT_FILE
    write_text(path, _UNPRINTABLE.sub("\ufffd", _load_template(template).render(content)))
    return path


def _make_folder(folder: Path) -> None:
    hint = "Give another folder, or the right to write there."
    with explain_os_error(CafError, f"The folder {folder} cannot be made", hint):
        folder.mkdir(parents=True, exist_ok=True)


class _Writer:
    """Keep the drawings as files, and return them as addresses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: set[str] = set()

    def add(self, figure: Figure, name: str, title: str) -> Drawing:
        """Write a drawing, and return it for the page."""
        name = self._make_name(name)
        pictures = {suffix: io.BytesIO() for suffix in ("png", "pdf")}
        # Nothing that differs each time: equal runs give equal files.
        figure.savefig(pictures["png"], format="png", dpi=_RESOLUTION, metadata={"Software": _MARK})
        figure.set_layout_engine("none")  # it stays as it is laid out; to do that again takes half of the time
        figure.savefig(pictures["pdf"], format="pdf", metadata={"Creator": _MARK, "CreationDate": None})
        _make_folder(self._folder)
        for suffix, picture in pictures.items():
            write_bytes(self._folder / f"{name}.{suffix}", picture.getvalue(), durable=False)
        return Drawing(title=title, source=build_address("image/png", pictures["png"].getvalue()))

    def remove_others(self) -> None:
        """Remove drawings of an earlier report that this one has not.

        :raises CafError: if they cannot be removed.
        """
        hint = "Remove it, or clear its folder."
        for path in self._folder.glob("*.p[nd][gf]"):
            with explain_os_error(CafError, f"{path} of an earlier report cannot be removed", hint):
                if path.stem not in self._names and path.is_file() and _MARK.encode() in path.read_bytes():
                    path.unlink()

    def _make_name(self, name: str) -> str:
        plain = re.sub(r"[^A-Za-z0-9_.+-]+", "_", name).strip("._") or "figure"
        plain = plain[:_LONGEST_FILE_NAME]
        found, number = plain, 2
        while found in self._names:
            found, number = f"{plain}_{number}", number + 1
        self._names.add(found)
        return found


def build_address(media_type: str, content: bytes) -> str:
    """Return a data address that holds a picture."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _collect(run: RunRow, catalog: Catalog, writer: _Writer) -> dict[str, Any]:
    """Collect what the template shows."""
    place = run.place
    described = catalog.read_run(*place)
    rows = catalog.read(db.PayloadRow, *place, final=True)
    executions = catalog.read(db.ExecutionRow, *place, without=["output"])
    payloads = group_payloads(rows)
    gaps = find_payload_gaps(rows, executions)
    axis = RunAxis(find_shown_runs(rows, executions))
    failures = catalog.read(db.FailedSubjobRow, *place, limit=MOST_FAILURES, newest_by="ended")
    return {
        "run": run,
        "made": datetime.now(UTC),
        "calibrations": read_progress(*place, run.tasks, catalog),
        "map": _draw_map(payloads, gaps, axis, writer),
        "gaps": gaps,
        "executed": bool(executions),
        "trends": _draw_trends(payloads, axis, writer),
        "convergence": _draw_convergences(run, catalog, writer),
        "results": Shown(items=rows[:MOST_RESULTS], total=len(rows)),
        **_list_pictures(run, catalog),
        "failures": Shown(items=failures, total=catalog.count(db.FailedSubjobRow, *place)),
        "resources": catalog.read(db.SubjobsRow, *place),
        "passes": catalog.read(db.IterationRow, *place),
        "selections": catalog.read(db.SelectionRow, *place),
        "chosen": getattr(described, "chosen", ()),
        "folder": getattr(described, "folder", None),
        "versions": getattr(described, "versions", None) or {},
        "params": getattr(described, "params", None),
        "definition": getattr(described, "definition", None),
    }


def _draw_map(payloads: Payloads, gaps: Mapping[Any, Any], axis: RunAxis, writer: _Writer) -> Shown:
    """Draw the map, in parts that fit on a page."""
    keys = list(payloads)
    drawings = []
    for start in range(0, len(keys), MOST_BARS):
        part = {key: payloads[key] for key in keys[start : start + MOST_BARS]}
        own_gaps = {key: gaps[key] for key in part if key in gaps}
        drawings.append(writer.add(draw_map(part, own_gaps, axis), "iov_map", "IoV map"))
    return Shown(items=drawings, total=len(drawings))


def _draw_trends(payloads: Payloads, axis: RunAxis, writer: _Writer) -> Shown:
    """Draw the constants against the run; where there are too many, some of every payload."""
    constants = [
        (calibration, payload, field)
        for (calibration, payload), rows in payloads.items()
        for field in list_constants(row.value for row in rows)
    ]
    drawings = []
    chosen = _take_evenly(constants, MOST_TRENDS)
    for (calibration, payload), fields in groupby(chosen, key=lambda constant: constant[:2]):
        trends = build_trends(payloads[calibration, payload])
        for _, _, field in fields:
            drawings.append(_draw_trend(calibration, payload, field, trends.get(field, []), axis, writer))
    return Shown(items=drawings, total=len(constants))


def _draw_trend(
    calibration: str, payload: str, field: str, points: Sequence[TrendPoint], axis: RunAxis, writer: _Writer
) -> Drawing:
    label = f"{payload}: {field}" if field else payload
    drawable = [point for point in points if is_drawable(point.value, point.error)]
    left_out = len(points) - len(drawable)
    title = f"{calibration} – {label}" + (f" ({left_out} too large to draw)" if left_out else "")
    return writer.add(draw_trend(drawable, axis, label), f"trend_{calibration}_{payload}_{field}", title)


def _draw_convergences(run: RunRow, catalog: Catalog, writer: _Writer) -> Shown:
    numbers: dict[str, list[Any]] = {}
    for row in catalog.read(db.MonitoredRow, *run.place):
        numbers.setdefault(row.calibration, []).append(row)
    wanted = [
        (calibration, algorithm, name, points)
        for calibration, rows in numbers.items()
        for (algorithm, name), points in build_convergence(rows).items()
    ]
    drawable = [item for item in wanted if all(is_drawable(point.low, point.high, point.error) for point in item[-1])]
    drawings = [
        writer.add(
            draw_convergence(points, name),
            f"convergence_{calibration}_{algorithm}_{name}",
            f"{calibration} – {algorithm}: {name}",
        )
        for calibration, algorithm, name, points in _take_evenly(drawable, MOST_CONVERGENCES)
    ]
    return Shown(items=drawings, total=len(wanted))


def _take_evenly(items: Sequence[tuple[Any, ...]], most: int) -> list[tuple[Any, ...]]:
    """Return at most so many: first one of each group (their first two words), then a second one of each, and so on."""
    rank: dict[tuple[Any, ...], int] = {}
    ranked = []
    for number, item in enumerate(items):
        key = item[:2]
        rank[key] = rank.get(key, 0) + 1
        ranked.append((rank[key], number))
    chosen = sorted(number for _, number in sorted(ranked)[:most])
    return [items[number] for number in chosen]


def _list_pictures(run: RunRow, catalog: Catalog) -> dict[str, Any]:
    """Return the pictures of the algorithms, the last pass first: some of each name, and those that are files only.

    The contents of all of them may be gigabytes: they are read one name at a time.
    """
    known = sorted(catalog.read(db.FigureRow, *run.place, without=["content"]), key=lambda row: -row.iteration)
    chosen = _take_evenly([(row.calibration, row.name, _identify(row)) for row in known], MOST_FIGURES)
    contents: dict[tuple[Any, ...], bytes | None] = {}
    for calibration, name in dict.fromkeys(figure[:2] for figure in chosen):
        for row in catalog.read(db.FigureRow, *run.place, calibration, name=name):
            key = (calibration, name, _identify(row))
            if key in chosen:
                contents[key] = row.content
    drawings, files, size = [], [], 0
    for row in known:
        content = contents.get((row.calibration, row.name, _identify(row)), b"")
        if content is None:
            files.append(row)
        elif content and size + len(content) <= MOST_FIGURE_BYTES:
            size += len(content)
            title = f"{row.calibration} – {row.algorithm}: {row.name}, pass {row.iteration + 1}"
            drawings.append(Drawing(title=title, source=build_address(row.media_type, content)))
    return {"pictures": Shown(items=drawings, total=len(known)), "large_pictures": files}


def _identify(row: db.FigureRow) -> tuple[Any, ...]:
    return row.iteration, row.algorithm, row.execution, row.path


def _load_template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("airflow_provider_caf.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        seconds=format_seconds, value=format_value, moment=format_moment, runs=format_runs, text=format_json
    )
    environment.globals["counts"] = describe_counts
    return environment.get_template(name)


def format_seconds(seconds: float | None) -> str:
    """Return a duration for people."""
    return "–" if seconds is None else describe_seconds(seconds)


def format_moment(moment: datetime | None) -> str:
    """Return a moment in UTC."""
    return "–" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def format_value(value: JsonValue) -> str:
    """Return the value of a payload in one line."""
    text = ", ".join(_walk(value)) if value is not None else "–"
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + " …"


def _walk(value: JsonValue, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        yield f"{name} [{', '.join(part for item in value for part in _walk(item))}]".strip()
    else:
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        yield f"{name} {shown}".strip()


def format_runs(runs: Sequence[ExpRun], most: int = 40) -> str:
    """List runs, and say how many more there are."""
    more = f" and {len(runs) - most} more" if len(runs) > most else ""
    return " ".join(str(run) for run in runs[:most]) + more


def format_json(value: Any) -> str:
    """Return JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def describe_counts(calibration: CalibrationProgress) -> str:
    """Return how the executions of a calibration ended, in a line."""
    return ", ".join(
        f"{count} {code}" for algorithm in calibration.algorithms for code, count in algorithm.codes.items()
    )
