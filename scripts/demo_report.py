"""The end of the demonstration: constants against the truth, as a table and as plots."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_caf.cli.table import Column, Table
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.io.catalog import Catalog, ExecutionRow, PayloadRow

PULL_LIMIT = 5.0

# Payload → (how the truth of one run is read, unit)
_QUANTITIES = {
    "BeamSpot": ("spot", "cm"),
    "SensorOffset": (None, "cm"),
    "TimeOffset": ("time", "ns"),
    "SensorGain": ("gain", ""),
}


@dataclass(frozen=True)
class Measurement:
    """One constant with its truth.

    :param runs: the runs that were executed for it.
    """

    calibration: str
    payload: str
    iov: IoV
    runs: tuple[ExpRun, ...]
    value: float
    error: float
    truth: float

    @property
    def pull(self) -> float:
        """Distance from the truth in standard errors."""
        return (self.value - self.truth) / self.error


class Truth:
    """What the detector really was like, from `truth.json`."""

    def __init__(self, folder: Path) -> None:
        self._truth: dict[str, Any] = json.loads((folder / "truth.json").read_text())
        self.runs = {ExpRun(run["exp"], run["run"]): run for run in self._truth["runs"]}

    def find(self, payload: str, runs: Sequence[ExpRun]) -> float:
        """Return the truth of a constant, averaged over the tracks of the runs."""
        field, _ = _QUANTITIES[payload]
        if field is None:
            return float(self._truth["sensor_offset"])
        tracks = [float(self.runs[run]["tracks"]) for run in runs]
        truths = [float(self.runs[run][field]) for run in runs]
        return math.fsum(map(operator.mul, tracks, truths)) / math.fsum(tracks)


def read_measurements(catalog: Catalog, dag_id: str, run_id: str, truth: Truth) -> list[Measurement]:
    """Read the final constants of a run and put the truth beside them."""
    executions = {
        (row.calibration, row.iteration, row.algorithm, row.key): row.runs
        for row in catalog.read(ExecutionRow, dag_id, run_id, without=["output"])
    }
    measurements = []
    for row in catalog.read(PayloadRow, dag_id, run_id, final=True):
        value: Any = row.value
        assert row.execution is not None, "every payload of the demonstration has its execution"
        runs = executions[row.calibration, row.iteration, row.algorithm, row.execution]
        measurements.append(
            Measurement(
                calibration=row.calibration,
                payload=row.name,
                iov=row.iov,
                runs=runs,
                value=value["value"],
                error=value["error"],
                truth=truth.find(row.name, runs),
            )
        )
    return measurements


def build_result_table(measurements: Sequence[Measurement]) -> Table:
    """Build the table of constants."""
    table = Table(
        "Constants against the truth",
        (
            Column(name="calibration", goes=1),
            Column(name="payload"),
            Column(name="IoV"),
            Column(name="runs", goes=0, justify="right"),
            Column(name="constant ± error", justify="right"),
            Column(name="truth", goes=2, justify="right"),
            Column(name="pull", justify="right"),
        ),
    )
    for measurement in measurements:
        digits = max(0, 2 - math.floor(math.log10(measurement.error)) - 1)
        unit = _QUANTITIES[measurement.payload][1]
        style = "bold red" if abs(measurement.pull) > PULL_LIMIT else ""
        table.add_row(
            measurement.calibration,
            measurement.payload,
            str(measurement.iov),
            str(len(measurement.runs)),
            f"{measurement.value:.{digits}f} ± {measurement.error:.{digits}f} {unit}".rstrip(),
            f"{measurement.truth:.{digits}f}",
            f"{measurement.pull:+.2f}",
            style=style,
        )
    return table


def draw_plots(measurements: Sequence[Measurement], truth: Truth, folder: Path) -> list[Path]:
    """Draw each constant against the run, with the truth, into one PNG for each payload."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    runs = sorted(truth.runs)
    place = {run: index for index, run in enumerate(runs)}
    paths = []
    for payload, (_, unit) in _QUANTITIES.items():
        own = [measurement for measurement in measurements if measurement.payload == payload]
        if not own:
            continue
        figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
        axes.step(
            range(len(runs)),
            [truth.find(payload, [run]) for run in runs],
            where="mid",
            color="#999999",
            label="truth",
        )
        for index, measurement in enumerate(own):
            first, last = place[min(measurement.runs)], place[max(measurement.runs)]
            axes.errorbar(
                (first + last) / 2,
                measurement.value,
                xerr=(last - first) / 2 + 0.35,
                yerr=measurement.error,
                fmt="o",
                markersize=4,
                capsize=2,
                color="#0072b2",
                label="constant ± error, over its runs" if index == 0 else None,
            )
        axes.set_xticks(range(len(runs)), [str(run) for run in runs], rotation=45)
        axes.set_xlabel("experiment.run")
        axes.set_ylabel(f"{payload} [{unit}]" if unit else payload)
        axes.legend()
        path = folder / f"{payload}.png"
        figure.savefig(path, dpi=120)
        plt.close(figure)
        paths.append(path)
    return paths
