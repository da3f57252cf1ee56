"""Calibrate each run, or each experiment, by itself: how many calibrations there are depends on the data."""

# mypy: ignore-errors

from prompt import CalibrationSettings

import basf2 as b2

config = {"per": "run", "min_entries": 10}
settings = CalibrationSettings("Data Dependent", "expert", __doc__, ["cdst"], ["mumu"], expert_config=config)


def group_files(files_to_iov, per):
    """Give label → files of a run or an experiment, in order."""
    from caf.utils import ExpRun

    groups = {}
    for path, iov in sorted(files_to_iov.items()):
        first = ExpRun(iov.exp_low, iov.run_low)
        label = f"e{first.exp:04d}_r{first.run:05d}" if per == "run" else f"e{first.exp:04d}"
        groups.setdefault(label, []).append(path)
    return dict(sorted(groups.items()))


def get_calibrations(input_data, **kwargs):
    """Give a calibration for each group of files."""
    from caf.framework import Calibration
    from caf.strategies import SequentialRunByRun, SimpleRunByRun
    from ROOT.Belle2 import TestCalibrationAlgorithm

    config = kwargs["expert_config"]
    per = config["per"]
    if per not in ("run", "experiment"):
        raise ValueError(f"per is {per!r}: use 'run' or 'experiment'.")

    calibrations = []
    for label, files in group_files(input_data["mumu"], per).items():
        collector = b2.register_module("CaTest")
        collector.param("granularity", "run")
        algorithm = TestCalibrationAlgorithm()
        algorithm.setMinEntries(config["min_entries"])
        algorithm.setPayloadName(f"TestCalibMean_{label}")
        calibration = Calibration(f"Test_{label}", collector=collector, algorithms=[algorithm], input_files=files)
        calibration.strategies = SimpleRunByRun if per == "run" else SequentialRunByRun
        calibrations.append(calibration)
    b2.B2INFO(f"There is a calibration for each of {len(calibrations)} parts of the data.")
    return calibrations
