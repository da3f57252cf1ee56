"""Have the same name in the settings as same_name_b."""

# mypy: ignore-errors

from prompt import CalibrationSettings

settings = CalibrationSettings(
    name="Same Name",
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

    files = list(input_data["raw_physics"])
    return [
        Calibration("TestSameNameA", collector="CaTest", algorithms=[TestCalibrationAlgorithm()], input_files=files)
    ]
