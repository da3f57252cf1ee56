"""The last steps of a run: the joined local database with its gaps, what was signed off, the publication."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import CheckpointError, JobFailed, NotEnoughData
from airflow_provider_caf.core.files import PRIVATE, read_json, write_json
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.payloads import FilledGap, GapReport, fill_gaps
from airflow_provider_caf.core.record import record
from airflow_provider_caf.definitions.caf import Publish, Upload
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.io.layout import RunLayout, slug
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.jobs.processes import run_logged
from airflow_provider_caf.steps.finish import join_database, list_finished, read_executed_runs
from airflow_provider_caf.steps.gaps import write_gaps
from airflow_provider_caf.steps.upload import Access, upload_database


@record
class Joined:
    """The result of a run.

    :param database: the folder of the joined local database.
    :param payloads: name → number of IoVs.
    :param gaps: payload → what it leaves open among the executed runs.
    :param filled: which payloads were extended.
    """

    database: str
    payloads: Mapping[str, int]
    gaps: Mapping[str, GapReport]
    filled: Sequence[FilledGap]


def join_run(layout: RunLayout, gaps: str) -> Joined:
    """Make the joined local database of a run, and deal with its gaps.

    :param gaps: `report`, `fill` or `fail`.
    :raises NotEnoughData: if there are gaps and they shall not be.
    :raises DatabaseError: if it cannot be written.
    """
    members = list_finished(layout.folder)
    saved = [member for member in members if member.save_payloads]
    runs: set[ExpRun] = set()
    for member in saved:
        if isinstance(member, Calibration):
            runs |= read_executed_runs(layout.calibration(member.name))
    database = LocalDatabase(layout.database)
    if members:
        join_database(layout.calibration(members[0].name))
    else:
        database.create()
    filled: Sequence[FilledGap] = ()
    if gaps == "fill":
        filled = _fill(database, runs)
    reports = database.check_gaps(sorted(runs))
    write_gaps(layout.gaps, reports, filled)
    if reports and gaps == "fail":
        raise NotEnoughData(
            f"{len(reports)} payloads leave gaps, and the definition says `gaps: fail`:\n"
            + "\n".join(f"  {name}: {report}" for name, report in reports.items()),
            hint=f"See {layout.gaps}. Calibrate the runs that are missing, or say `gaps: fill`.",
        )
    names = [entry.name for entry in database.entries()]
    return Joined(
        database=str(database.folder),
        payloads={name: names.count(name) for name in sorted(set(names))},
        gaps=reports,
        filled=filled,
    )


def _fill(database: LocalDatabase, runs: set[ExpRun]) -> Sequence[FilledGap]:
    entries, filled = fill_gaps(database.entries(), runs)
    if filled:
        database.rewrite([(entry.name, database.get_file(entry), entry.iov) for entry in entries])
    return filled


def write_sign_off(layout: RunLayout, answer: Mapping[str, Any]) -> None:
    """Keep who approved the result, when, and the comment.

    :param answer: what Airflow's approval gave.
    """
    write_json(layout.sign_off, {"version": 1, **answer})


class Publication:
    """The publication of a run: at most once, whatever dies in between.

    Records in the run's folder say what has begun and what is done.

    :param publish: what the definition says.
    :param access: to the conditions database, for an upload.
    """

    def __init__(self, layout: RunLayout, publish: Publish, access: Access | None = None) -> None:
        self.layout = layout
        self.publish = publish
        self._access = access
        self._begun = layout.publish_folder / "begun.json"
        self._done = layout.publish_folder / "done.json"
        self._log = layout.publish_folder / "command.log"

    def run(self) -> tuple[str, bool]:
        """Publish, and tell what was done and whether it was done before.

        :raises CheckpointError: if an earlier try of a command has died, and nobody knows how far it came.
        :raises JobFailed: if the command fails.
        :raises DatabaseError: if the database cannot be copied.
        """
        if self._done.exists():
            return str(read_json(self._done, "The record of the publication")["what"]), True
        self.layout.publish_folder.mkdir(parents=True, exist_ok=True)
        if self.publish.upload is not None:
            what = self._upload(self.publish.upload)
        elif self.publish.folder is not None:
            what = self._copy(Path(self.publish.folder))
        else:
            what = self._run_command()
        if self.publish.upload is None or not self.publish.upload.dry_run:
            write_json(self._done, {"version": 1, "what": what})
        return what, False

    def _upload(self, order: Upload) -> str:
        """Upload the database. Doing it again uploads what is missing."""
        assert self._access is not None
        return upload_database(LocalDatabase(self.layout.database), order, self._access, self._log)

    def _copy(self, folder: Path) -> str:
        """Copy the database to a folder of its own. Doing it again gives the same."""
        target = folder / slug(self.layout.dag_id) / slug(self.layout.run_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        LocalDatabase(self.layout.database).copy_to(target).verify()
        return f"copied to {target}"

    def _run_command(self) -> str:
        command = [word.replace("{database}", str(self.layout.database)) for word in self.publish.command or ()]
        if self._begun.exists():
            raise CheckpointError(
                f"An earlier try has started {command[0]!r} and has not seen its end: nobody knows how far it came.",
                hint=f"Look at {self._log}, and whether the payloads have arrived. If they have not, remove "
                f"{self._begun} and clear this task. If they have, mark the task as success.",
            )
        write_json(self._begun, {"version": 1, "command": command}, mode=PRIVATE)
        try:
            ended = run_logged("The command of publish", command, self._log)
        except JobFailed:
            self._begun.unlink()
            raise
        if ended.exit_code != 0:
            # It has ended and says that it failed: to run it again is for a person to decide, by a clear.
            self._begun.unlink()
            raise JobFailed(
                f"The command of publish failed with exit code {ended.exit_code}.",
                hint="Mend the cause and clear this task.",
                log=str(self._log),
                log_tail=ended.tail,
            )
        return f"ran {command[0]}"
