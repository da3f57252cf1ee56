"""The first task of a calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_caf.core.calibration import CalibrationRecord, DatabaseEntry
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.hooks.batch import BatchHook
from airflow_provider_caf.operators.base import CafOperator
from airflow_provider_caf.steps.prepare import Surroundings, prepare_calibration

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_caf.io.layout import CalibrationLayout


class PrepareOperator(CafOperator):
    """Check a calibration and resolve its input before anything is submitted.

    :param definition: the JSON form of a `CalibrationRecord`; texts in it may be templates.
    :param ancestors: the calibrations it depends on, directly or not, nearest first.
    :param backend: the batch system.
    :param backend_args: the arguments that the CAF gives for all calibrations.
    :param database_chain: the end of the database chain.
    :param connection: an Airflow connection of type `caf_batch`, or None.
    """

    template_fields: Sequence[str] = (
        *CafOperator.template_fields,
        "definition",
        "backend",
        "backend_args",
        "database_chain",
        "connection",
    )
    template_fields_renderers = {"definition": "json", "backend_args": "json", "database_chain": "json"}  # noqa: RUF012

    def __init__(
        self,
        *,
        definition: Mapping[str, Any],
        ancestors: Sequence[str] = (),
        backend: str = "local",
        backend_args: Mapping[str, Any] | None = None,
        database_chain: Sequence[Mapping[str, Any]] = (),
        connection: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.definition = definition
        self.ancestors = ancestors
        self.backend = backend
        self.backend_args = backend_args
        self.database_chain = database_chain
        self.connection = connection

    def run_step(self, context: Context, layout: CalibrationLayout) -> dict[str, Any]:
        """Prepare, and give for each collection how many files and subjobs it has."""
        connection_args: dict[str, Any] = {}
        if self.connection:
            hook = BatchHook(self.connection)
            connection_args = hook.read_arguments()
            if hook.read_system() != self.backend:
                raise DefinitionError(
                    f"The CAF runs on {self.backend!r}, but its connection {self.connection!r} is to "
                    f"{hook.read_system()!r}.",
                    hint="Change the backend of the CAF, or the system of the connection.",
                )
        counts = prepare_calibration(
            CalibrationRecord.from_json(self.definition),
            Surroundings(
                ancestors=tuple(self.ancestors),
                backend=self.backend,
                connection_args=connection_args,
                backend_args=self.backend_args,
                database_chain=tuple(DatabaseEntry.from_json(entry) for entry in self.database_chain),
            ),
            layout,
        )
        self.open_results(context).begin_iteration(0)
        for name, count in counts.items():
            self.log.info("Collection %s: %d files in %d subjobs.", name, count["files"], count["subjobs"])
        return {"folder": str(layout.folder), "collections": counts}
