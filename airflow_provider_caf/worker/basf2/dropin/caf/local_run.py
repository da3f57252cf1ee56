"""Run the calibrations of a script without Airflow: `CAF().run()`. Its collectors run where the backend says.

::

    <output_dir>/caf_run.json
                 <calibration>/<iteration>/collector_input/<collection>/
                                           collector_output/<collection>/<subjob>/
                                           algorithm_output/outputdb/, <algorithm>_stdout
                                           results.json
                               outputdb/

One calibration after the other; the subjobs of all its collections at the same time. A script that was cut off or has
failed goes on when it runs again: its jobs are found, what was collected stays, and so does what the algorithms of an
iteration have made of it, as long as that is the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.files import write_json
from airflow_provider_caf.core.graph import order_calibrations
from airflow_provider_caf.worker.basf2.dropin.caf.backends import Backend, Local
from airflow_provider_caf.worker.basf2.dropin.caf.calibration_steps import OUTPUT_DATABASE, list_dependencies, tell
from airflow_provider_caf.worker.basf2.dropin.caf.state_machines import CalibrationMachine
from airflow_provider_caf.worker.basf2.dropin.caf.utils import IoV, all_dependencies, topological_sort

_HINT = (
    "running without Airflow. With it, calibrations run at the same time, with retries and a page: "
    "airflow caf import-script {script}"
)
_RUN_FILE = "caf_run.json"


def run_locally(caf: Any, iov: IoV | None) -> None:
    """Run all calibrations of a CAF.

    :param iov: only runs in it are calibrated; None: all.
    :raises RuntimeError: if there is nothing to run, the output folder is of something else, or a calibration fails.
    :raises DefinitionError: if the calibrations depend on each other in a circle, or on one that is not there.
    :raises BackendError: if jobs cannot be submitted.
    """
    tell(_HINT.format(script=sys.argv[0] or "SCRIPT"))
    if not caf.calibrations:
        raise RuntimeError("The CAF has no calibrations: use add_calibration.")
    caf.dependencies = list_dependencies(caf.calibrations.values())
    order = order_calibrations(caf.dependencies)
    caf.future_dependencies = {
        name: [other.name for other in calibration.future_dependencies if other.name in caf.calibrations]
        for name, calibration in caf.calibrations.items()
    }
    caf.order = all_dependencies(caf.future_dependencies, topological_sort(caf.future_dependencies))
    caf.output_dir = caf._make_output_dir()
    output = Path(caf.output_dir)
    for name in order:
        calibration = caf.calibrations[name]
        calibration._apply_calibration_defaults(caf.calibration_defaults)
        calibration.iov = iov
        calibration.output_database_dir = str(output / name / OUTPUT_DATABASE)
        machine = CalibrationMachine(calibration, iov)
        machine.root_dir = output / name
        machine.collector_backend = calibration.backend or caf.backend or Local()
        _drive(machine, max(caf.heartbeat, calibration.heartbeat))


def _drive(machine: CalibrationMachine, heartbeat: float) -> None:
    """Lead a calibration from one state to the next, to the end.

    :param heartbeat: seconds between two looks at the jobs, at least.
    :raises RuntimeError: if it fails.
    """
    backend = machine.collector_backend
    if not isinstance(backend, Backend):
        raise RuntimeError(
            f"The backend of {machine.calibration} is a {type(backend).__name__}, not a caf.backends.Backend."
        )
    tell(f"the collectors of {machine.calibration} run on {type(backend).__name__}, all else here")
    while machine.state != "completed":
        machine.submit_collector()
        machine.failure = machine.steps.wait(heartbeat)
        machine.automatic_transition()
        if machine.state == "collector_completed":
            machine.run_algorithms()
        if machine.failure:
            machine.fail_fully()
            raise RuntimeError(machine.failure)


def open_output(output: Path) -> None:
    """Make the output folder, or go on in it if it is of an earlier run.

    :raises RuntimeError: if something else lies there.
    """
    if output.exists():
        check_output(output)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / _RUN_FILE, {"version": 1})


def check_output(output: Path) -> None:
    """Refuse a folder that is of something else.

    :raises RuntimeError: with what to do.
    """
    if not (output / _RUN_FILE).exists():
        raise RuntimeError(f"The folder {output} is there already, and no CAF.run made it: set another output_dir.")
