"""Keep the tests apart from the user's own Airflow, and from the speed of the machine."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import hypothesis

# Airflow reads its environment and writes a configuration file when it is first imported; this comes before.
for _name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[_name]
_home = tempfile.mkdtemp(prefix="caf-tests-airflow-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _home
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

# How long one example may take says more about the neighbours on the machine than about the code.
hypothesis.settings.register_profile("house", deadline=None, print_blob=True)
hypothesis.settings.load_profile("house")
