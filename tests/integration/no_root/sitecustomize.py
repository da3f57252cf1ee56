"""Hide ROOT and numpy from Airflow: Python imports this first in all of its processes, see `one_airflow.py`.

What a task starts has none of Airflow's variables, so it has them. Not so what it starts for the demonstration: there
only the environment of the jobs has them. matplotlib, which draws the reports, brings numpy for itself.
"""

import os
import sys


class _Nothing:
    """Say of them what Python says of what is not installed."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name in ("ROOT", "cppyy") or (name == "numpy" and "matplotlib" not in sys.modules):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if "AIRFLOW_HOME" in os.environ or any("/demo_calibration/" in word for word in sys.orig_argv):
    sys.meta_path.insert(0, _Nothing())
