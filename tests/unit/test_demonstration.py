"""The errors of the demonstration's constants: each is what the detector's resolutions and the numbers of tracks say.

`benchmarks/bench_pulls.py` measures the same with many seeds, from the distances to the truth.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "dags"))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from bench_pulls import judge

import demo_detector as detector

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

CALIBRATE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from bench_pulls import calibrate_seed
found = calibrate_seed(1)
print(json.dumps([[each.payload, each.error, each.value, list(map(str, each.runs))] for each in found]))
"""

Shares = Mapping[tuple[str, ...], float]


@dataclass(frozen=True)
class Constant:
    """A constant of the demonstration, and the runs that it was made of."""

    payload: str
    error: float
    value: float
    runs: tuple[str, ...]


@pytest.fixture(scope="module")
def constants() -> list[Constant]:
    words = [sys.executable, "-W", "ignore", "-c", CALIBRATE, str(BENCHMARKS)]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return [Constant(payload, error, value, tuple(runs)) for payload, error, value, runs in json.loads(printed)]


@pytest.fixture(scope="module")
def tracks() -> dict[str, int]:
    return {f"{run.exp}.{run.run}": run.tracks for run in detector.make_runs(detector.open_streams(1)[0])}


@pytest.fixture(scope="module")
def expect(constants: list[Constant], tracks: dict[str, int]) -> Callable[[Constant], float]:
    """Give the function that says what the error of a constant has to be."""
    spots = [each.runs for each in constants if each.payload == "BeamSpot"]
    total = sum(tracks.values())

    def count(runs: Iterable[str]) -> int:
        return sum(tracks[run] for run in runs)

    def share(runs: Iterable[str]) -> Shares:
        """Give which part of the tracks of some runs belongs to each beam spot."""
        chosen = set(runs)
        return {spot: count(chosen & set(spot)) / count(chosen) for spot in spots}

    def propagate(shares: Shares) -> float:
        return sum(part**2 * detector.VERTEX_RESOLUTION**2 / count(spot) for spot, part in shares.items())

    hits = detector.HIT_RESOLUTION**2 / total

    def expect_one(each: Constant) -> float:
        if each.payload == "BeamSpot":
            return detector.VERTEX_RESOLUTION / math.sqrt(count(each.runs))
        if each.payload == "TimeOffset":
            return detector.TIME_RESOLUTION / math.sqrt(count(each.runs))
        if each.payload == "SensorOffset":
            return math.sqrt(hits + propagate(share(tracks)))
        # The offset has each spot with its share of all hits, and the other sign.
        own, of_all = share(each.runs), share(tracks)
        middle = hits + propagate({spot: own[spot] - of_all[spot] for spot in spots})
        charge = (detector.CHARGE_RESOLUTION * each.value) ** 2 / (2 * count(each.runs))
        return math.sqrt(charge + (detector.CHARGE_SLOPE * each.value) ** 2 * middle)

    return expect_one


def test_there_is_every_constant(constants: list[Constant]) -> None:
    counts: dict[str, int] = defaultdict(int)
    for each in constants:
        counts[each.payload] += 1
    assert counts == {"BeamSpot": 11, "SensorOffset": 1, "TimeOffset": 14, "SensorGain": 4}


@pytest.mark.parametrize("payload", ["BeamSpot", "SensorOffset", "TimeOffset", "SensorGain"])
def test_errors_are_those_of_the_detector(
    constants: list[Constant], tracks: dict[str, int], expect: Callable[[Constant], float], payload: str
) -> None:
    """A gain's error without that of the sensor's middle is 8 % too small, with independent parts 4 % too large."""
    own = [each for each in constants if each.payload == payload]
    # A measured width is known to 1/√(2n), for n tracks.
    entries = sum(tracks[run] for each in own for run in each.runs)
    ratio = math.fsum(each.error / expect(each) for each in own) / len(own)
    tolerance = max(0.02, 4 / math.sqrt(2 * entries))
    assert ratio == pytest.approx(1, abs=tolerance)


@pytest.mark.parametrize(
    ("shift", "width", "is_honest"),
    [(0.0, 1.0, True), (0.09, 1.0, True), (0.12, 1.0, False), (0.0, 1.12, False), (0.0, 0.88, False)],
)
def test_pulls_that_are_off_are_told(shift: float, width: float, is_honest: bool) -> None:
    seeds, constants = 100, 20
    count = seeds * constants
    quantiles = [NormalDist(shift, width).inv_cdf((number + 0.5) / count) for number in range(count)]
    judged = judge("Constant", [quantiles[seed::seeds] for seed in range(seeds)])
    assert judged.count == count
    assert [judged.mean, judged.width] == pytest.approx([shift, width], abs=0.01)
    assert judged.is_honest is is_honest


def test_few_pulls_do_not_tell() -> None:
    assert judge("Constant", [[0.5], [1.4], [-0.6]]).is_honest
