"""The last step of a calibration: its final local database, and what the payloads leave open."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_caf.core.calibration import CalibrationRecord
from airflow_provider_caf.core.errors import CheckpointError
from airflow_provider_caf.core.graph import order_calibrations
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.json_form import build_json
from airflow_provider_caf.core.payloads import GapReport
from airflow_provider_caf.core.record import record
from airflow_provider_caf.io.files import read_json, write_json
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.decide import find_last_pass
from airflow_provider_caf.steps.manifest import CalibrationManifest


@record
class FinalPayloads:
    """What a calibration leaves.

    :param passes: how many passes it made.
    :param iovs: how many lines its local database has.
    :param limit_reached: True if an algorithm wanted another pass and there was none left.
    :param gaps: payload → what it leaves open among the executed runs.
    """

    passes: int
    iovs: int
    limit_reached: bool
    gaps: dict[str, GapReport]


def finish_calibration(layout: CalibrationLayout) -> FinalPayloads:
    """Copy the payloads of the last pass to `<calibration>/outputdb`, join the run's, and look for gaps.

    :raises CheckpointError: if no pass has ended.
    :raises DatabaseError: if the database cannot be written.
    """
    manifest = CalibrationManifest.read(layout)
    last = find_last_pass(layout, manifest.calibration.max_iterations)
    if last is None:
        raise CheckpointError(
            f"No pass of calibration {layout.name!r} has decided to finish.",
            hint="Clear the last `decide` task that was not skipped.",
        )
    database = LocalDatabase(last.database).copy_to(layout.database)
    LocalDatabase(layout.run_database).replace_with(_find_saved(layout))
    runs = sorted(
        {
            ExpRun.from_json(run)
            for algorithm in manifest.calibration.algorithms
            for execution in read_json(
                last.algorithm(algorithm.name).result, f"The result of algorithm {algorithm.name!r}"
            )["executions"]
            for run in execution["runs"]
        }
    )
    gaps = database.check_gaps(runs)
    write_json(layout.gaps, {name: build_gap_json(report) for name, report in gaps.items()})
    return FinalPayloads(
        passes=last.number + 1,
        iovs=len(database.entries()),
        limit_reached=bool(read_json(last.decision, "The last decision")["limit_reached"]),
        gaps=gaps,
    )


def _find_saved(layout: CalibrationLayout) -> Iterator[LocalDatabase]:
    """Give the final databases of all calibrations of the run that save their payloads, in the order of dependency.

    A calibration that has not finished yet adds its own when it does.
    """
    finished: dict[str, CalibrationRecord] = {}
    for folder in sorted(layout.run_folder.iterdir()):
        if (folder / layout.definition.name).exists():
            sibling = layout.sibling(folder.name)
            if LocalDatabase(sibling.database).exists():
                finished[sibling.name] = CalibrationManifest.read(sibling).calibration
    depends = {name: [each for each in record.depends_on if each in finished] for name, record in finished.items()}
    for name in order_calibrations(depends):
        if finished[name].save_payloads:
            yield LocalDatabase(layout.sibling(name).database)


def build_gap_json(report: GapReport) -> dict[str, list[list[int]]]:
    """Give the form in which gaps stand in `iov_gaps.json`."""
    return {
        "runs": build_json(report.uncovered),
        "gaps": build_json(report.gaps),
    }
