"""Return a dict of calibrations, where a list is wanted."""

# mypy: ignore-errors

from prompt.calibrations._common import build_calibration, build_settings

settings = build_settings("Wrong Return", __doc__)


def get_calibrations(input_data, **kwargs):
    """Return a calibration by its name."""
    calibration = build_calibration("TestWrongReturn", input_data)
    return {calibration.name: calibration}
