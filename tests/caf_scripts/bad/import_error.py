"""Import a module that nobody has."""

# mypy: ignore-errors

import no_such_module_of_anybody
from prompt import CalibrationSettings

settings = CalibrationSettings(
    name="Import Error",
    expert_username="expert",
    description=__doc__,
    input_data_formats=["raw"],
    input_data_names=["raw_physics"],
    depends_on=[],
)


def get_calibrations(input_data, **kwargs):
    """Give one calibration."""
    from caf.framework import Calibration
    from ROOT.Belle2 import TestCalibrationAlgorithm

    no_such_module_of_anybody.prepare()
    files = list(input_data["raw_physics"])
    return [
        Calibration("TestImportError", collector="CaTest", algorithms=[TestCalibrationAlgorithm()], input_files=files)
    ]
