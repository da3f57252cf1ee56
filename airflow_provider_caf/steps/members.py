"""Steps of a run that collect nothing: imported payloads, external commands, and types of the user's own.

What they bring is a local database, the step's `outputdb`. Calibrations that depend on the step see it like the
payloads of any other calibration.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence

from airflow_provider_caf.core.chain import DatabaseEntry, build_database_chain
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.reference import load_reference
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.definitions.calibration import (
    CalibrationBase,
    ImportedPayloads,
    OwnCalibration,
)
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.finish import join_database
from airflow_provider_caf.steps.manifest import write_step


@record
class StepPlace:
    """What a calibration type of the user gets in `run`.

    :param folder: the step's own.
    :param database: the folder in which a local database becomes its payloads.
    :param database_chain: what it sees, `{"kind": …, "path" or "name": …}` each, first hit wins.
    :param run_id: of the DAG run.
    :param say: writes a line to the task's log.
    """

    folder: str
    database: str
    database_chain: Sequence[Mapping[str, str]]
    run_id: str
    say: Callable[[str], None]

    def log(self, text: str) -> None:
        """Write a line to the task's log."""
        self.say(text)


class StepRun:
    """One step in one run.

    :param step: its definition, filled in.
    :param layout: its paths.
    :param ancestors: the calibrations it depends on, directly or not, nearest first.
    :param database_chain: the end of the chain, that of the CAF.
    :param run_id: of the DAG run.
    :param say: writes a line to the task's log.
    """

    def __init__(
        self,
        step: CalibrationBase,
        layout: CalibrationLayout,
        *,
        ancestors: Sequence[str] = (),
        database_chain: Sequence[DatabaseEntry] = (),
        run_id: str = "",
        say: Callable[[str], None] = print,
    ) -> None:
        self.step = step
        self.layout = layout
        self.run_id = run_id
        self.say = say
        databases = [str(layout.sibling(name).database) for name in ancestors]
        self.chain = build_database_chain(None, databases, (*step.databases, *database_chain))

    def run(self) -> LocalDatabase:
        """Do the work here, and return the step's final database. It can be called again at any time.

        :raises DefinitionError: if the definition cannot be carried out.
        :raises DatabaseError: if a database is damaged or cannot be written.
        """
        write_step(self.step, self.layout)
        if isinstance(self.step, ImportedPayloads):
            self._import(self.step)
        else:
            assert isinstance(self.step, OwnCalibration)
            self._run_own(self.step)
        return self.end()

    def end(self) -> LocalDatabase:
        """Let the run's database have the payloads, and return the step's own."""
        join_database(self.layout)
        return LocalDatabase(self.layout.database)

    def _import(self, step: ImportedPayloads) -> None:
        source = LocalDatabase(step.folder)
        wanted = step.payloads
        if not source.exists():
            raise DefinitionError(
                f"There is no local database in {source.folder}, from which {step.name!r} imports.",
                hint=f"It has to hold {source.text_file.name}.",
            )
        source.verify()
        entries = source.entries()
        names = {entry.name for entry in entries}
        for name in wanted or ():
            if name not in names:
                raise DefinitionError(
                    f"{step.name!r} imports the payload {name!r}, which is not in {source.folder}.",
                    hint=build_word_hint(name, names, "payloads"),
                )
        chosen = [entry for entry in entries if wanted is None or entry.name in wanted]
        target = LocalDatabase(self.layout.database)
        target.create()
        target.rewrite([(entry.name, source.get_file(entry), entry.iov) for entry in chosen])
        self.say(f"Imported {len(chosen)} of {len(entries)} payloads from {source.folder}.")

    def begin_database(self) -> LocalDatabase:
        """Return the empty database that the user's code may fill. What an earlier try left is gone."""
        if self.layout.made_database.exists():
            shutil.rmtree(self.layout.made_database)
        database = LocalDatabase(self.layout.made_database)
        database.create()
        return database

    def take_over(self, database: LocalDatabase) -> None:
        """Make what the user's code has left the payloads of the step."""
        database.verify()
        database.copy_to(self.layout.database)
        self.say(f"{len(database.entries())} payloads.")

    def _run_own(self, step: OwnCalibration) -> None:
        what = f"type of calibration {step.name!r}"
        cls = load_reference(step.kind, what)
        if not (hasattr(cls, "from_options") and callable(getattr(cls, "run", None))):
            raise DefinitionError(
                f"The {what}, {step.kind!r}, is no CalibrationBase.", hint="Derive it from CalibrationBase."
            )
        options = {**(step.model_extra or {}), "depends_on": step.dependencies, "save_payloads": step.save_payloads}
        own = cls.from_options(step.name, options)
        database = self.begin_database()
        own.run(
            StepPlace(
                folder=str(self.layout.folder),
                database=str(database.folder),
                database_chain=[entry.to_job_json() for entry in self.chain],
                run_id=self.run_id,
                say=self.say,
            )
        )
        self.take_over(database)
