"""Return a dict of calibrations, where a list is wanted."""

# mypy: ignore-errors

from prompt import CalibrationSettings

settings = CalibrationSettings(
    name="Wrong Return",
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
    calibration = Calibration(
        "TestWrongReturn", collector="CaTest", algorithms=[TestCalibrationAlgorithm()], input_files=files
    )
    return {calibration.name: calibration}
