"""Depend on circular_a, which depends on this one."""

# mypy: ignore-errors

from prompt import CalibrationSettings
from prompt.calibrations.circular_a import settings as circular_a

settings = CalibrationSettings(
    name="Circular B",
    expert_username="expert",
    description=__doc__,
    input_data_formats=["raw"],
    input_data_names=["raw_physics"],
    depends_on=[circular_a],
)


def get_calibrations(input_data, **kwargs):
    """Give one calibration."""
    from caf.framework import Calibration
    from ROOT.Belle2 import TestCalibrationAlgorithm

    files = list(input_data["raw_physics"])
    return [
        Calibration("TestCircularB", collector="CaTest", algorithms=[TestCalibrationAlgorithm()], input_files=files)
    ]
