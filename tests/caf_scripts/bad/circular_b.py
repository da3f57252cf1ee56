"""Depend on circular_a, which depends on this one."""

# mypy: ignore-errors

from prompt.calibrations._common import build_calibration, build_settings
from prompt.calibrations.circular_a import settings as circular_a

settings = build_settings("Circular B", __doc__, depends_on=[circular_a])


def get_calibrations(input_data, **kwargs):
    """Return one calibration."""
    return [build_calibration("TestCircularB", input_data)]
