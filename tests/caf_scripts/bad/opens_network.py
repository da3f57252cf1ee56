"""Ask a server while it is imported. Nothing listens at that port."""

# mypy: ignore-errors

import socket

from prompt.calibrations._common import build_calibration, build_settings

with socket.create_connection(("127.0.0.1", 9), timeout=5) as connection:
    RUNS = connection.recv(1000)

settings = build_settings("Opens Network", __doc__)


def get_calibrations(input_data, **kwargs):
    """Return one calibration."""
    return [build_calibration("TestOpensNetwork", input_data)]
