"""Steps of a run that collect nothing: imported payloads, external commands, and types of the user's own.

What they bring is a local database, the step's `outputdb`. Calibrations that depend on the step see it like the
payloads of any other calibration.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence

from airflow_provider_caf.core.chain import DatabaseEntry, build_database_chain
from airflow_provider_caf.core.errors import DefinitionError, JobFailed
from airflow_provider_caf.core.files import write_json
from airflow_provider_caf.core.processes import run_logged
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.reference import load_reference
from airflow_provider_caf.core.signals import name_signal
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.definitions.calibration import (
    CalibrationBase,
    ExternalCommand,
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
        self._run_id = run_id
        self._say = say
        databases = [str(layout.sibling(name).database) for name in ancestors]
        self._chain = build_database_chain(None, databases, (*step.databases, *database_chain))

    def run(self) -> LocalDatabase:
        """Do the work and return the step's final database. It can be called again at any time.

        :raises DefinitionError: if the definition cannot be carried out.
        :raises JobFailed: if a command fails or takes too long.
        :raises DatabaseError: if a database is damaged or cannot be written.
        """
        write_step(self.step, self.layout)
        if isinstance(self.step, ImportedPayloads):
            self._import(self.step)
        elif isinstance(self.step, ExternalCommand):
            self._run_command(self.step)
        else:
            assert isinstance(self.step, OwnCalibration)
            self._run_own(self.step)
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
        self._say(f"Imported {len(chosen)} of {len(entries)} payloads from {source.folder}.")

    def _begin_database(self) -> LocalDatabase:
        """Return the empty database that the user's code may fill. What an earlier try left is gone."""
        if self.layout.made_database.exists():
            shutil.rmtree(self.layout.made_database)
        database = LocalDatabase(self.layout.made_database)
        database.create()
        return database

    def _take_over(self, database: LocalDatabase) -> None:
        database.verify()
        database.copy_to(self.layout.database)
        self._say(f"{len(database.entries())} payloads.")

    def _run_own(self, step: OwnCalibration) -> None:
        what = f"type of calibration {step.name!r}"
        cls = load_reference(step.kind, what)
        if not (hasattr(cls, "from_options") and callable(getattr(cls, "run", None))):
            raise DefinitionError(
                f"The {what}, {step.kind!r}, is no CalibrationBase.", hint="Derive it from CalibrationBase."
            )
        options = {**(step.model_extra or {}), "depends_on": step.dependencies, "save_payloads": step.save_payloads}
        own = cls.from_options(step.name, options)
        database = self._begin_database()
        own.run(
            StepPlace(
                folder=str(self.layout.folder),
                database=str(database.folder),
                database_chain=[entry.to_job_json() for entry in self._chain],
                run_id=self._run_id,
                say=self._say,
            )
        )
        self._take_over(database)

    def _run_command(self, step: ExternalCommand) -> None:
        database = self._begin_database()
        write_json(self.layout.seen_databases, [entry.to_job_json() for entry in self._chain])
        places = {
            "folder": str(self.layout.folder),
            "database": str(database.folder),
            "database_chain": str(self.layout.seen_databases),
        }
        argv = [_fill(word, places) for word in step.command]
        given = {
            **{f"CAF_STEP_{name.upper()}": path for name, path in places.items()},
            "CAF_RUN_ID": self._run_id,
            **{name: str(value) for name, value in step.environment.items()},
        }
        log = self.layout.command_log
        self._say(f"Runs {argv}; it prints to {log}")
        what = f"The command of step {step.name!r}"
        ended = run_logged(what, argv, log, variables=given, folder=self.layout.folder, timeout=step.timeout)
        for line in ended.tail.splitlines():
            self._say(f"| {line}")
        if ended.is_late:
            how = f"no end within {step.timeout:g} s"
        elif ended.exit_code < 0:
            how = f"ended by signal {name_signal(-ended.exit_code).removeprefix('signal ')}"
        else:
            how = f"exit code {ended.exit_code}"
        if ended.exit_code != 0 or ended.is_late:
            raise JobFailed(
                f"{what} failed: {how}.",
                hint="Mend the cause and clear this task: it runs again from its beginning.",
                log=str(log),
                log_tail=ended.tail,
            )
        self._take_over(database)


def _fill(word: str, places: Mapping[str, str]) -> str:
    for name, path in places.items():
        word = word.replace(f"{{{name}}}", path)
    return word
