"""Import a module that nobody has."""

# mypy: ignore-errors

import no_such_module_of_anybody
from prompt.calibrations._common import build_calibration, build_settings

settings = build_settings("Import Error", __doc__)


def get_calibrations(input_data, **kwargs):
    """Return one calibration."""
    no_such_module_of_anybody.prepare()
    return [build_calibration("TestImportError", input_data)]
