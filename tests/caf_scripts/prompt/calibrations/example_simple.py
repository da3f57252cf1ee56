"""Calibrate the mean of a measured value, once for the whole range of runs."""

# mypy: ignore-errors

from prompt import INPUT_DATA_FILTERS, CalibrationSettings
from prompt.utils import filter_by_max_files_per_run

import basf2 as b2

settings = CalibrationSettings(
    name="Example Simple",
    expert_username="expert",
    description=__doc__,
    input_data_formats=["raw"],
    input_data_names=["raw_physics"],
    input_data_filters={
        "raw_physics": [
            INPUT_DATA_FILTERS["Run Type"]["physics"],
            INPUT_DATA_FILTERS["Magnet"]["On"],
        ]
    },
    depends_on=[],
    expert_config={
        "max_files_per_run": 2,
        "min_events_per_file": 1,
        "min_entries": 10,
        "trigger_lines": ["skim_mumu", ["skim_bhabha", 2]],
    },
)


def build_reconstruction(trigger_lines):
    """Give the path that runs before the collector: only events that the trigger chose go on."""
    path = b2.create_path()
    path.add_module("Progress")
    path.add_module("Gearbox")
    path.add_module("Geometry")
    lines = [line if isinstance(line, str) else tuple(line) for line in trigger_lines]
    skim = path.add_module("TriggerSkim", triggerLines=lines, resultOnMissing=0)
    skim.if_value("==0", b2.Path(), b2.AfterConditionPath.END)
    return path


def get_calibrations(input_data, **kwargs):
    """Give one calibration with the default collection."""
    from caf.framework import Calibration
    from caf.strategies import SingleIOV
    from caf.utils import IoV
    from ROOT.Belle2 import TestCalibrationAlgorithm

    config = kwargs["expert_config"]
    requested = kwargs["requested_iov"]
    chosen = filter_by_max_files_per_run(
        input_data["raw_physics"], config["max_files_per_run"], config["min_events_per_file"]
    )
    b2.B2INFO(f"{len(chosen)} of {len(input_data['raw_physics'])} files are read.")

    algorithm = TestCalibrationAlgorithm()
    algorithm.setMinEntries(config["min_entries"])

    calibration = Calibration(
        "TestCalibration",
        collector="CaTest",
        algorithms=[algorithm],
        input_files=list(chosen),
        pre_collector_path=build_reconstruction(config["trigger_lines"]),
        max_files_per_collector_job=1,
    )
    calibration.strategies = SingleIOV
    # Open, so that the constants hold for later runs until there are newer ones.
    for each in calibration.algorithms:
        each.params = {"apply_iov": IoV(requested.exp_low, requested.run_low, -1, -1)}
    calibration.max_iterations = 3
    return [calibration]
