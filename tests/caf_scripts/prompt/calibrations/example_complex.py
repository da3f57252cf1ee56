"""Calibrate in two steps with three kinds of data. Only the constants of the second step are kept."""

# mypy: ignore-errors

from prompt import CalibrationSettings
from prompt.calibrations.example_simple import settings as example_simple
from prompt.utils import filter_by_max_files_per_run

import basf2 as b2

settings = CalibrationSettings(
    name="Example Complex",
    expert_username="expert",
    description=__doc__,
    input_data_formats=["raw"],
    input_data_names=["raw_physics", "raw_cosmic", "raw_beam"],
    depends_on=[example_simple],
    expert_config={
        "max_files_per_run": 3,
        "max_events_per_file": 1000,
        "min_entries": 10,
        # The first runs of new payloads, beside the first requested one.
        "payload_boundaries": [],
    },
)


def build_reconstruction(max_events_per_file):
    """Give the path that all collections share; it reads the first events of each file only."""
    path = b2.create_path()
    path.add_module("RootInput", entrySequences=[f"0:{max_events_per_file - 1}"])
    path.add_module("Gearbox")
    path.add_module("Geometry")
    path.add_module("Progress")
    return path


def build_collection(files, granularity, path):
    """Give a collection with a collector of its own."""
    from caf.framework import Collection

    collector = b2.register_module("CaTest")
    collector.param("granularity", granularity)
    collector.param("spread", 4)
    return Collection(
        collector=collector,
        input_files=list(files),
        pre_collector_path=path,
        max_collector_jobs=4,
        backend_args={"queue": "s"},
    )


def find_boundaries(requested, config):
    """Give the first runs of all payloads, sorted."""
    from caf.utils import ExpRun

    chosen = [ExpRun(*boundary) for boundary in config["payload_boundaries"]]
    return sorted({ExpRun(requested.exp_low, requested.run_low), *chosen})


def get_calibrations(input_data, **kwargs):
    """Give two calibrations, the second of which needs the constants of the first."""
    from caf.framework import Calibration
    from caf.strategies import SequentialBoundaries, SingleIOV
    from caf.utils import IoV, vector_from_runs
    from ROOT.Belle2 import TestBoundarySettingAlgorithm, TestCalibrationAlgorithm

    config = kwargs["expert_config"]
    requested = kwargs["requested_iov"]
    output_iov = IoV(requested.exp_low, requested.run_low, -1, -1)
    files = {name: filter_by_max_files_per_run(input_data[name], config["max_files_per_run"]) for name in input_data}
    path = build_reconstruction(config["max_events_per_file"])

    rough_algorithm = TestCalibrationAlgorithm()
    rough_algorithm.setMinEntries(config["min_entries"])
    rough_algorithm.setPayloadName("TestRoughMean")
    rough = Calibration("TestRough", algorithms=[rough_algorithm])
    rough.add_collection("physics", build_collection(files["raw_physics"], "all", path))
    rough.add_collection("cosmic", build_collection(files["raw_cosmic"], "all", path))
    rough.strategies = SingleIOV
    for each in rough.algorithms:
        each.params = {"apply_iov": output_iov}
    rough.save_payloads = False

    boundaries = find_boundaries(requested, config)
    b2.B2INFO(f"Payloads begin with {boundaries}.")
    fine_algorithm = TestBoundarySettingAlgorithm()
    fine_algorithm.setBoundaries(vector_from_runs(boundaries))
    fine = Calibration("TestFine", algorithms=[fine_algorithm])
    fine.add_collection("beam", build_collection(files["raw_beam"], "run", path))
    fine.strategies = SequentialBoundaries
    for each in fine.algorithms:
        each.params = {"iov_coverage": output_iov}
    fine.depends_on(rough)
    return [rough, fine]
