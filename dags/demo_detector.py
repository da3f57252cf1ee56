"""A small detector whose truth is known, and the data it takes.

`python demo_detector.py FOLDER` writes one file of muons and one of electrons for each run, and `truth.json`. The data
are seeded: the same seed gives the same events. The calibrations in `demo_calibrators.py` never see the truth.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

VERTEX_RESOLUTION = 0.010  # cm
HIT_RESOLUTION = 0.004  # cm
TIME_RESOLUTION = 1.0  # ns
CHARGE_RESOLUTION = 0.15  # of the charge
CHARGE_SLOPE = 5.0  # per cm: how the charge grows with the distance from the sensor's middle
CHARGE = {"muons": 80.0, "electrons": 100.0}  # ADC counts at gain 1

SENSOR_OFFSET = 0.0120  # cm, three times the hit resolution


@dataclass(frozen=True)
class Run:
    """The truth of one run.

    :param tracks: how many muons, and how many electrons, it recorded.
    :param spot: position of the beam spot, in cm.
    :param time: time offset, in ns.
    :param voltage: high voltage of the sensor, in V; the gain follows it.
    """

    exp: int
    run: int
    tracks: int
    spot: float
    time: float
    voltage: float

    @property
    def gain(self) -> float:
        """Gain of the sensor: 1 at 1500 V, 0.2 % more for each volt."""
        return 1.0 + 0.002 * (self.voltage - 1500.0)


def open_streams(seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Return random numbers for the truth, and others for the data, which no other seed has."""
    truth, data = np.random.SeedSequence(seed).spawn(2)
    return np.random.default_rng(truth), np.random.default_rng(data)


def make_runs(random: np.random.Generator) -> list[Run]:
    """Draw the truth of 14 runs in two experiments: three thin ones, one with a shifted beam spot."""
    thin = {(7, 4), (7, 7), (8, 5)}
    shifted = (8, 3)
    voltages = {7: {1: 1500.0, 5: 1530.0}, 8: {1: 1510.0, 4: 1545.0}}
    runs = []
    for exp, numbers, base in ((7, (1, 2, 3, 4, 5, 6, 7, 8), 0.020), (8, (1, 2, 3, 4, 5, 6), 0.035)):
        voltage = 0.0
        for number in numbers:
            voltage = voltages[exp].get(number, voltage)
            runs.append(
                Run(
                    exp=exp,
                    run=number,
                    tracks=int(random.integers(45, 60) if (exp, number) in thin else random.integers(700, 1100)),
                    spot=base + float(random.normal(0, 0.001)) + (0.05 if (exp, number) == shifted else 0.0),
                    time=12.0 + float(random.normal(0, 0.5)),
                    voltage=voltage,
                )
            )
    return runs


def draw_tracks(run: Run, kind: str, random: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Draw the tracks of one run: one array for each branch, one entry for each track."""
    count = run.tracks
    hit = run.spot + random.normal(0, HIT_RESOLUTION, count)
    charge = CHARGE[kind] * run.gain * (1.0 + CHARGE_SLOPE * (hit - run.spot))
    return {
        "exp": np.full(count, run.exp, dtype=np.int32),
        "run": np.full(count, run.run, dtype=np.int32),
        "vertex_x": run.spot + random.normal(0, VERTEX_RESOLUTION, count),
        "hit_x": hit + SENSOR_OFFSET,
        "time": run.time + random.normal(0, TIME_RESOLUTION, count),
        "charge": charge * (1.0 + random.normal(0, CHARGE_RESOLUTION, count)),
        "voltage": np.full(count, run.voltage),
    }


def write_data(folder: Path, seed: int) -> list[Run]:
    """Write the ROOT files and `truth.json`; the truth comes last, so that it stands for complete data."""
    import ROOT

    folder.mkdir(parents=True, exist_ok=True)
    of_truth, of_data = open_streams(seed)
    runs = make_runs(of_truth)
    for run in runs:
        for kind in CHARGE:
            path = folder / f"exp{run.exp:02d}_run{run.run:04d}_{kind}.root"
            frame = ROOT.RDF.FromNumpy(draw_tracks(run, kind, of_data))
            frame.Snapshot("events", str(path))
    truth = {
        "seed": seed,
        "sensor_offset": SENSOR_OFFSET,
        "runs": [{**run.__dict__, "gain": run.gain} for run in runs],
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    return runs


def main() -> None:
    """Write the data."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=20260101)
    options = parser.parse_args()
    runs = write_data(options.folder, options.seed)
    print(f"{2 * len(runs)} files of {len(runs)} runs in {options.folder}")


if __name__ == "__main__":
    main()
