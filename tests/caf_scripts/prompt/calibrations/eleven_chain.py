"""Calibrate in eleven steps, each of which reads the constants of the one before. Those of the last are kept."""

# mypy: ignore-errors

from prompt import CalibrationSettings

import basf2 as b2

settings = CalibrationSettings("Eleven Chain", "expert", __doc__, ["cdst"], ["mumu"], expert_config={"length": 11})


def get_calibrations(input_data, **kwargs):
    """Give a chain of calibrations, made in a loop."""
    from caf.framework import Calibration
    from caf.strategies import SingleIOV
    from caf.utils import IoV
    from ROOT.Belle2 import ChainAlgorithm

    requested = kwargs["requested_iov"]
    output_iov = IoV(requested.exp_low, requested.run_low, -1, -1)
    length = kwargs["expert_config"]["length"]
    files = sorted(input_data["mumu"])

    calibrations = []
    for number in range(1, length + 1):
        collector = b2.register_module("CaTest")
        collector.param("granularity", "all")
        algorithm = ChainAlgorithm()
        # The first one has no previous constants to read.
        algorithm.setNames(f"TestChain{number:02d}", f"TestChain{number - 1:02d}" if number > 1 else "")
        calibration = Calibration(
            f"TestChain{number:02d}", collector=collector, algorithms=[algorithm], input_files=files
        )
        calibration.strategies = SingleIOV
        for each in calibration.algorithms:
            each.params = {"apply_iov": output_iov}
        calibration.save_payloads = number == length
        if calibrations:
            calibration.depends_on(calibrations[-1])
        calibrations.append(calibration)
    return calibrations
