"""Take ten minutes before it gives its calibrations."""

# mypy: ignore-errors

import time

from prompt.calibrations._common import build_calibration, build_settings

settings = build_settings("Takes Minutes", __doc__)


def get_calibrations(input_data, **kwargs):
    """Return one calibration."""
    time.sleep(600)
    return [build_calibration("TestTakesMinutes", input_data)]
