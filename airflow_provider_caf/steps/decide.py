"""The end of a pass: join the payloads of its algorithms, and decide whether to iterate."""

from __future__ import annotations

from airflow_provider_caf.core.files import read_json, write_json
from airflow_provider_caf.core.iteration import IterationAction, IterationDecision, decide_iteration
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.io.layout import CalibrationLayout, IterationLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.manifest import CalibrationManifest


def decide_pass(layout: CalibrationLayout, iteration: int) -> IterationDecision:
    """Make the local database of a pass and decide what comes next.

    Running it again gives the same: the database is made anew from those of the algorithms.

    A later algorithm's payload wins over an earlier one's.

    :param iteration: the number of the pass, from 0.
    :raises InputError: if an algorithm has left no result.
    :raises DatabaseError: if the database cannot be written.
    """
    calibration = CalibrationManifest.read(layout).calibration
    algorithms = [algorithm.name for algorithm in calibration.algorithms]
    this = layout.iteration(iteration)
    codes: list[ResultCode] = []
    for name in algorithms:
        result = read_json(this.algorithm(name).result, f"The result of algorithm {name!r}")
        codes += [ResultCode(code) for code in result["codes"]]
    sources = [LocalDatabase(this.algorithm(name).database) for name in algorithms]
    LocalDatabase(this.database).replace_with(sources)
    decision = decide_iteration(codes, iteration, calibration.repetitions)
    write_json(
        this.decision,
        {
            "action": decision.action.value,
            "limit_reached": decision.limit_reached,
            "reason": decision.reason,
        },
    )
    return decision


def find_last_pass(layout: CalibrationLayout, max_iterations: int) -> IterationLayout | None:
    """Return the first pass that decided to finish. Folders of later passes are left from before a reset.

    :return: None if no pass has decided to finish.
    """
    for number in range(max_iterations + 1):
        this = layout.iteration(number)
        if not this.decision.exists():
            return None
        decision = read_json(this.decision, f"The decision of iteration {number}")
        if decision["action"] == IterationAction.FINISH.value:
            return this
    return None
