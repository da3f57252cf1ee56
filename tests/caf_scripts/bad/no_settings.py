"""Have a get_calibrations, but no settings."""

# mypy: ignore-errors


def get_calibrations(input_data, **kwargs):
    """Give one calibration."""
    from caf.framework import Calibration
    from ROOT.Belle2 import TestCalibrationAlgorithm

    files = list(input_data["raw_physics"])
    return [
        Calibration("TestNoSettings", collector="CaTest", algorithms=[TestCalibrationAlgorithm()], input_files=files)
    ]
