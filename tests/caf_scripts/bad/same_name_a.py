"""Have the same name in the settings as same_name_b."""

# mypy: ignore-errors

from prompt.calibrations._common import build_calibration, build_settings

settings = build_settings("Same Name", __doc__)


def get_calibrations(input_data, **kwargs):
    """Return one calibration."""
    return [build_calibration("TestSameNameA", input_data)]
