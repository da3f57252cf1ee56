"""Depend on circular_b, which depends on this one."""

# mypy: ignore-errors

from prompt.calibrations._common import build_calibration, build_settings
from prompt.calibrations.circular_b import settings as circular_b

settings = build_settings("Circular A", __doc__, depends_on=[circular_b])


def get_calibrations(input_data, **kwargs):
    """Return one calibration."""
    return [build_calibration("TestCircularA", input_data)]
