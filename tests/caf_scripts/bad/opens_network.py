"""Ask a server while it is imported. Nothing listens at that port."""

# mypy: ignore-errors

import socket

from prompt import CalibrationSettings

with socket.create_connection(("127.0.0.1", 9), timeout=5) as connection:
    RUNS = connection.recv(1000)

settings = CalibrationSettings(
    name="Opens Network",
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

    files = list(input_data["raw_physics"])
    return [
        Calibration("TestOpensNetwork", collector="CaTest", algorithms=[TestCalibrationAlgorithm()], input_files=files)
    ]
