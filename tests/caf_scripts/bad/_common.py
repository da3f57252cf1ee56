"""The part of these scripts that is right."""

# mypy: ignore-errors

from prompt import CalibrationSettings


def build_settings(name, description, depends_on=()):
    """Return the settings of a script."""
    return CalibrationSettings(
        name=name,
        expert_username="expert",
        description=description,
        input_data_formats=["raw"],
        input_data_names=["raw_physics"],
        depends_on=list(depends_on),
    )


def build_calibration(name, input_data, algorithm=None):
    """Return a calibration, with the algorithm of the tests if no other is given."""
    from caf.framework import Calibration
    from ROOT.Belle2 import TestCalibrationAlgorithm

    algorithms = [algorithm or TestCalibrationAlgorithm()]
    return Calibration(name, collector="CaTest", algorithms=algorithms, input_files=list(input_data["raw_physics"]))
