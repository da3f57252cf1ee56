"""Take ten minutes before it gives its calibrations."""

# mypy: ignore-errors

import time

from prompt import CalibrationSettings

settings = CalibrationSettings(
    name="Takes Minutes",
    expert_username="expert",
    description=__doc__,
    input_data_formats=["raw"],
    input_data_names=["raw_physics"],
    depends_on=[],
)


def get_calibrations(input_data, **kwargs):
    """Give one calibration."""
    from caf.framework import Calibration
    from ROOT.Belle2 import TestCalibrationAlgorithm

    time.sleep(600)
    files = list(input_data["raw_physics"])
    return [
        Calibration("TestTakesMinutes", collector="CaTest", algorithms=[TestCalibrationAlgorithm()], input_files=files)
    ]
