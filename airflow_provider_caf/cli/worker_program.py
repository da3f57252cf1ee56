"""Run a program of the room `worker` in another Python: that of a job, or of the experiment's environment."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import airflow_provider_caf
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.batch.wrapper import build_site_argv

_START = """
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
# Of all that lies beside the package nothing is to be found: it is for another Python.
spec = spec_from_file_location("airflow_provider_caf", sys.argv[1])
package = sys.modules[spec.name] = module_from_spec(spec)
spec.loader.exec_module(package)
sys.exit(import_module("airflow_provider_caf.worker." + sys.argv[2]).main(sys.argv[3:]))
"""


def build_worker_argv(resources: Resources, module: str, words: Iterable[str]) -> tuple[str, ...]:
    """Return what runs the `main` of a module of `worker`, the site's setup lines in front.

    :param resources: whose Python and setup count; without a Python it is ours.
    :param module: its name in the room.
    """
    package = Path(airflow_provider_caf.__file__).absolute()
    return build_site_argv(resources, [resources.python or sys.executable, "-c", _START, str(package), module, *words])
