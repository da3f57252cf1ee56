"""Depend on circular_b, which depends on this one."""

# mypy: ignore-errors

from prompt import CalibrationSettings
from prompt.calibrations.circular_b import settings as circular_b

settings = CalibrationSettings(
    name="Circular A",
    expert_username="expert",
    description=__doc__,
    input_data_formats=["raw"],
    input_data_names=["raw_physics"],
    depends_on=[circular_b],
)


def get_calibrations(input_data, **kwargs):
    """Give one calibration."""
    from caf.framework import Calibration
    from ROOT.Belle2 import TestCalibrationAlgorithm

    files = list(input_data["raw_physics"])
    return [
        Calibration("TestCircularA", collector="CaTest", algorithms=[TestCalibrationAlgorithm()], input_files=files)
    ]
