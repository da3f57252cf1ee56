"""Write files of events for the stand-in: `python make_data.py FILE EXP RUN EVENTS MEAN [LINE=RESULT …]`."""

from __future__ import annotations

import random
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any


def write_events(
    path: str,
    runs: Sequence[tuple[int, int, int, float]],
    trigger: Mapping[str, int | Sequence[int]] | None = None,
    seed: int = 1,
) -> None:
    """Write a file of events.

    :param runs: experiment, run, number of events and mean of the values of each run.
    :param trigger: the trigger results of all events; of a list each event takes the next one, again and again.
        None: they have none.
    :param seed: the values depend on it.
    """
    import ROOT

    generator = random.Random(seed)
    file = ROOT.TFile.Open(path, "RECREATE")
    tree = ROOT.TTree("tree", "events")
    numbers: dict[str, Any] = {name: array("i", [0]) for name in ("exp", "run", "event")}
    for name, number in numbers.items():
        tree.Branch(name, number, f"{name}/I")
    value = array("d", [0.0])
    tree.Branch("value", value, "value/D")
    if trigger is not None:
        results = ROOT.std.map("std::string", "int")()
        tree.Branch("SoftwareTriggerResult", results)
    total = 0
    for exp, run, count, mean in runs:
        for event in range(count):
            numbers["exp"][0], numbers["run"][0], numbers["event"][0] = exp, run, event
            value[0] = generator.gauss(mean, 1.0)
            for line, result in (trigger or {}).items():
                results[line] = result if isinstance(result, int) else result[total % len(result)]
            tree.Fill()
            total += 1
    tree.Write()
    file.Close()


if __name__ == "__main__":
    exp, run, count = map(int, sys.argv[2:5])
    lines = {line: int(result) for line, _, result in (word.partition("=") for word in sys.argv[6:])}
    write_events(sys.argv[1], [(exp, run, count, float(sys.argv[5]))], lines or None)
