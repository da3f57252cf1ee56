"""The last step of a calibration: its final local database, and what the payloads leave open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from airflow_provider_caf.core.errors import CheckpointError
from airflow_provider_caf.core.files import read_json
from airflow_provider_caf.core.graph import order_calibrations
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.payloads import GapReport
from airflow_provider_caf.core.record import record
from airflow_provider_caf.definitions.calibration import Calibration, CalibrationBase
from airflow_provider_caf.io.layout import DEFINITION_FILE, CalibrationLayout, IterationLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.decide import find_last_pass
from airflow_provider_caf.steps.gaps import write_gaps
from airflow_provider_caf.steps.manifest import CalibrationManifest, read_member


@record
class FinalPayloads:
    """What a calibration leaves.

    :param passes: how many passes it made.
    :param iovs: how many lines its local database has.
    :param limit_reached: True if an algorithm wanted another pass and there was none left.
    :param gaps: payload → what it leaves open among the executed runs.
    :param failed_subjobs: collection → how many of its subjobs failed in the last pass, and are not in the result.
    """

    passes: int
    iovs: int
    limit_reached: bool
    gaps: dict[str, GapReport]
    failed_subjobs: dict[str, int]


def finish_calibration(layout: CalibrationLayout) -> FinalPayloads:
    """Copy the payloads of the last pass to `<calibration>/outputdb`, join the run's, and look for gaps.

    :raises CheckpointError: if no pass has ended.
    :raises DatabaseError: if the database cannot be written.
    """
    manifest = CalibrationManifest.read(layout)
    last = find_last_pass(layout, manifest.calibration.repetitions)
    if last is None:
        raise CheckpointError(
            f"No pass of calibration {layout.name!r} has decided to finish.",
            hint="Clear the last `decide` task that was not skipped.",
        )
    database = LocalDatabase(last.database).copy_to(layout.database)
    join_database(layout)
    runs = sorted(_read_runs(manifest.calibration, last))
    gaps = database.check_gaps(runs)
    write_gaps(layout.gaps, gaps)
    return FinalPayloads(
        passes=last.number + 1,
        iovs=len(database.entries()),
        limit_reached=bool(read_json(last.decision, "The last decision")["limit_reached"]),
        gaps=gaps,
        failed_subjobs=_count_failed(manifest.calibration, last),
    )


def _count_failed(calibration: Calibration, last: IterationLayout) -> dict[str, int]:
    names = [collection.name for collection in calibration.collections.values()]
    files = {name: last.collection(name).failed_file for name in names}
    return {
        name: len(read_json(file, f"The list of failed subjobs of collection {name!r}")["failed"])
        for name, file in files.items()
        if file.exists()
    }


def join_database(layout: CalibrationLayout) -> None:
    """Make the local database of the run anew: of all that have finished and save their payloads.

    :raises DatabaseError: if it cannot be written.
    """
    LocalDatabase(layout.run_database).replace_with(_find_saved(layout))


def _find_saved(layout: CalibrationLayout) -> Iterator[LocalDatabase]:
    """Yield the final databases of all calibrations of the run that save their payloads, in the order of dependency.

    A calibration that has not finished yet adds its own when it does.
    """
    for member in list_finished(layout.run_folder):
        if member.save_payloads:
            yield LocalDatabase(layout.sibling(member.name).database)


def list_finished(run_folder: Path) -> list[CalibrationBase]:
    """Return the calibrations of a run that have a final database, in the order of dependency."""
    finished: dict[str, CalibrationBase] = {}
    for folder in sorted(run_folder.iterdir()):
        if (folder / DEFINITION_FILE).exists():
            place = CalibrationLayout(run_folder=run_folder, name=folder.name)
            if LocalDatabase(place.database).exists():
                finished[place.name] = read_member(place)
    depends = {
        name: [before for before in member.dependencies if before in finished] for name, member in finished.items()
    }
    return [finished[name] for name in order_calibrations(depends)]


def read_executed_runs(layout: CalibrationLayout) -> set[ExpRun]:
    """Return the runs that the algorithms of a calibration have executed in its last pass.

    :raises InputError: if an algorithm has left no result.
    """
    calibration = CalibrationManifest.read(layout).calibration
    last = find_last_pass(layout, calibration.repetitions)
    return set() if last is None else _read_runs(calibration, last)


def _read_runs(calibration: Calibration, last: IterationLayout) -> set[ExpRun]:
    return {
        ExpRun.from_json(run)
        for algorithm in calibration.algorithms
        for execution in read_json(
            last.algorithm(algorithm.name).result, f"The result of algorithm {algorithm.name!r}"
        )["executions"]
        for run in execution["runs"]
    }
