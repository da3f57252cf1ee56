"""Have a get_calibrations, but no settings."""

# mypy: ignore-errors

from prompt.calibrations._common import build_calibration


def get_calibrations(input_data, **kwargs):
    """Return one calibration."""
    return [build_calibration("TestNoSettings", input_data)]
