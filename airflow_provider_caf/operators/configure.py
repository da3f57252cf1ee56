"""The first task of a run: it holds the definition, and makes of it what this run does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import jinja2
from airflow.sdk import BaseOperator, Context

from airflow_provider_caf.core.errors import CheckpointError, DatabaseError
from airflow_provider_caf.core.task_ids import CONFIGURE
from airflow_provider_caf.definitions.resolve import Resolved, fill_templates, resolve_run
from airflow_provider_caf.hooks.batch import choose_connection
from airflow_provider_caf.hooks.token import read_token
from airflow_provider_caf.io.layout import make_work_dir
from airflow_provider_caf.operators.base import CafTask, failing_for_good, find_run
from airflow_provider_caf.site.places import find_catalog, open_journal
from airflow_provider_caf.steps.configure import configure_run


class ConfigureOperator(CafTask, BaseOperator):
    """Fill in the templates of the definition, apply the params of the run, and check everything at once.

    It holds the only copy of the definition in the DAG. The task `prepare` of each calibration takes it from here, as
    it is then: a corrected definition counts from the next clear of `prepare` on.

    :param definition: the definition in the form of files, see `CAF.to_json`; texts in it may be templates.
    """

    template_fields: Sequence[str] = ("definition",)
    template_fields_renderers = {"definition": "json"}  # noqa: RUF012
    ui_color = "#fdf3d8"

    def __init__(self, *, definition: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.definition = definition

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Fill in templates as the definition's own rules say: one that stands alone keeps the type of its value."""
        with failing_for_good(context):
            environment = jinja_env or self.get_template_env(self.get_dag())
            return fill_templates(content, context["params"], dict(context), environment)

    def execute(self, context: Context) -> dict[str, Any]:
        """Configure the run, and return how many input files each collection has.

        :raises AirflowFailException: for whatever is wrong with definition, conf or input.
        """
        with failing_for_good(context):
            resolved = self._resolve(self.definition, context)
            if resolved.caf.publish is not None and resolved.caf.publish.upload is not None:
                # Not after hours of calibrating.
                read_token(resolved.caf.publish.upload.connection)
            run = find_run(context)
            make_work_dir(run.work_dir)
            params = dict(context["params"])
            # That its connection is none to a database is told now: later it would only wait. What else is wrong with
            # it may be mended meanwhile.
            with suppress(DatabaseError):
                find_catalog(run.work_dir)
            counts = configure_run(resolved.caf, resolved.chosen, params, run, open_journal(run))
        for name in resolved.chosen:
            self.log.info("Calibration %s runs.", name)
        for name, count in counts.items():
            self.log.info("Collection %s: %d input files.", name, count)
        return {"calibrations": list(resolved.chosen), "files": counts}

    def resolve(self, context: Context) -> Resolved:
        """Return the definition of a run, for another of its tasks.

        :raises DefinitionError: with every mistake found.
        """
        return self._resolve(self.render_template(self.definition, context), context)

    def _resolve(self, definition: Mapping[str, Any], context: Context) -> Resolved:
        dag = self.get_dag()
        conf = getattr(context["dag_run"], "conf", None) or {}
        return resolve_run(
            definition, dict(context["params"]), conf, () if dag is None else dag.params, choose_connection
        )


def find_definition(operator: BaseOperator, context: Context) -> Resolved:
    """Return the definition of the run, for a task behind `configure`.

    :raises CheckpointError: if the DAG has no such task.
    :raises DefinitionError: with every mistake found.
    """
    configure = operator.dag.task_dict.get(CONFIGURE)
    if not isinstance(configure, ConfigureOperator):
        raise CheckpointError(
            f"The DAG {operator.dag.dag_id!r} has no task {CONFIGURE!r}, which holds the definition.",
            hint="Make the DAG with build_dag, or add a ConfigureOperator.",
        )
    return configure.resolve(context)
