"""Ask for an algorithm that no library has."""

# mypy: ignore-errors

from prompt import CalibrationSettings

settings = CalibrationSettings(
    name="No Such Algorithm",
    expert_username="expert",
    description=__doc__,
    input_data_formats=["raw"],
    input_data_names=["raw_physics"],
    depends_on=[],
)


def get_calibrations(input_data, **kwargs):
    """Give one calibration."""
    from caf.framework import Calibration
    from ROOT.Belle2 import TestAlgorithmThatNobodyWrote

    files = list(input_data["raw_physics"])
    return [
        Calibration(
            "TestNoSuchAlgorithm", collector="CaTest", algorithms=[TestAlgorithmThatNobodyWrote()], input_files=files
        )
    ]
