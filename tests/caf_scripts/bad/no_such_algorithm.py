"""Ask for an algorithm that no library has."""

# mypy: ignore-errors

from prompt.calibrations._common import build_calibration, build_settings

settings = build_settings("No Such Algorithm", __doc__)


def get_calibrations(input_data, **kwargs):
    """Return one calibration."""
    from ROOT.Belle2 import TestAlgorithmThatNobodyWrote

    return [build_calibration("TestNoSuchAlgorithm", input_data, TestAlgorithmThatNobodyWrote())]
