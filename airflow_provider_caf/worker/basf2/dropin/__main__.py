"""Run a script of the experiment with our modules in the place of the release's.

::

    python3 -m airflow_provider_caf.worker.basf2.dropin SCRIPT [ARGUMENT …]
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_caf.worker.basf2.dropin import install


def main(argv: Sequence[str]) -> int:
    """Run a script as Python itself would, and return the exit code.

    :param argv: the script, and its arguments.
    """
    if not argv or not Path(argv[0]).is_file():
        given = f"there is no script {argv[0]}" if argv else "no script is given"
        sys.stderr.write(f"{given}; use: python3 -m {install.__module__} SCRIPT [ARGUMENT …]\n")
        return 2
    install()
    sys.argv[:] = argv
    sys.path[0] = str(Path(argv[0]).resolve().parent)
    runpy.run_path(argv[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
