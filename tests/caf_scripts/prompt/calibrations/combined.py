"""Calibrate each kind of data that is there in two steps: what other scripts show one by one, together."""

# mypy: ignore-errors

from prompt import CalibrationSettings
from prompt.calibrations.custom_strategy import MergePoorRuns
from prompt.calibrations.pre_algorithm import build_functions

import basf2 as b2

settings = CalibrationSettings(
    name="Combined",
    expert_username="expert",
    description=__doc__,
    input_data_formats=["raw"],
    input_data_names=["raw_physics", "raw_cosmic"],
    expert_config={"factor": 2.0, "min_entries_per_run": 30, "payload_boundaries": [[1, 2], [1, 3]]},
)


def build_collection(files, path, **words):
    """Give a collection that leaves side files beside its histograms."""
    from caf.framework import Collection

    collector = b2.register_module("CaTest")
    collector.param("granularity", "run")
    collector.param("sideFile", "events.mille")
    patterns = ["CollectorOutput.root", "*.mille"]
    return Collection(collector, files, pre_collector_path=path, output_patterns=patterns, **words)


def build_calibration(name, files_to_iov, path, config, requested):
    """Give a calibration with a strategy of its own, and one with boundaries; the first changes what was collected."""
    from caf.framework import Calibration
    from caf.strategies import SequentialBoundaries
    from caf.utils import ExpRun, IoV
    from ROOT.Belle2 import TestCalibrationAlgorithm

    class Joined(Calibration):
        """A subclass, as some experts have."""

    merged, bounded = TestCalibrationAlgorithm(), TestCalibrationAlgorithm()
    merged.setPayloadName(f"Merged_{name}")
    merged.setIterations(1)
    bounded.setPayloadName(f"Bounded_{name}")
    calibration = Joined(f"Joined_{name}", algorithms=[merged, bounded])
    files = sorted(files_to_iov, key=files_to_iov.get)
    calibration.add_collection("first", build_collection(files[:1], path, max_collector_jobs=1))
    if files[1:]:
        calibration.add_collection("others", build_collection(files[1:], path, max_files_per_collector_job=1))
    coverage = IoV(requested.exp_low, requested.run_low, -1, -1)
    boundaries = [ExpRun(*boundary) for boundary in config["payload_boundaries"]]
    first, second = calibration.algorithms
    first.strategy, second.strategy = MergePoorRuns, SequentialBoundaries
    first.params = {"iov_coverage": coverage, "min_entries_per_run": config["min_entries_per_run"]}
    second.params = {"iov_coverage": coverage, "payload_boundaries": boundaries}
    first.data_input, first.pre_algorithm = build_functions(merged, config["factor"])
    calibration.max_iterations = 1
    return calibration


def build_check(name, calibration, path):
    """Give a calibration that reads the constants of another one, and keeps none."""
    from caf.framework import Calibration
    from caf.strategies import SingleIOV
    from ROOT.Belle2 import ChainAlgorithm

    algorithm = ChainAlgorithm()
    algorithm.setNames(f"Check_{name}", f"Merged_{name}")
    files = calibration.collections["first"].input_files
    check = Calibration(f"Check_{name}", "CaTest", algorithm, input_files=files)
    check.pre_collector_path = path
    check.strategies = SingleIOV
    check.save_payloads = False
    check.depends_on(calibration)
    return check


def get_calibrations(input_data, **kwargs):
    """Give two calibrations for each kind of data that has files."""
    path = b2.create_path()
    path.add_module("RootInput", entrySequences=["0:999"])
    path.add_module("Progress")
    calibrations = []
    for name, files in input_data.items():
        if files and name in settings.input_data_names:
            made = build_calibration(name, files, path, kwargs["expert_config"], kwargs["requested_iov"])
            calibrations += [made, build_check(name, made, path)]
    return calibrations
