"""On which batch systems a test makes sense."""

from __future__ import annotations

import pytest

SERVED = ("htcondor", "lsf", "pbs", "slurm", "torque")
WITH_SERVER = pytest.mark.only_on(*SERVED)
ON_FAKES = pytest.mark.only_on(*SERVED, real=False)
"""Some things cannot be made to happen on a real system."""
ON_REAL = pytest.mark.only_on(*SERVED, real=True)
