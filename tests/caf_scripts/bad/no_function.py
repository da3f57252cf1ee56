"""Have settings, but no get_calibrations."""

# mypy: ignore-errors

from prompt.calibrations._common import build_settings

settings = build_settings("No Function", __doc__)
