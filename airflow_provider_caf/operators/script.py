"""Tasks of a DAG that describes a calibration script, and then runs what it has described."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.triggers.external_task import DagStateTrigger
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError

from airflow_provider_caf.core.caf_config import CafConfig, read_object
from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.core.processes import stop_tied_processes
from airflow_provider_caf.core.task_ids import DESCRIBE
from airflow_provider_caf.operators.base import failing_for_good
from airflow_provider_caf.scripts.definition import ScriptImport
from airflow_provider_caf.site.places import find_run_layout

CAF_CONFIG, INPUT_DATA = "caf_config", "input_data"
"""The params of such a DAG."""

_LOOK_INTERVAL = 2.0
_TAG = "described"


class DescribeScriptOperator(BaseOperator):
    """Describe a calibration script, and write its definition into the folder of definitions.

    What was described before with the same result has its definition already, and its DAG.

    :param folder: of definitions; the DAG processor sees it, too.
    :param script: None: as `caf_config` says.
    :param options: further words of `ScriptImport`.
    """

    ui_color = "#fdf3d8"

    def __init__(
        self, *, folder: str, script: str | None = None, options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.folder = folder
        self.script = script
        self.options = options

    def execute(self, context: Context) -> dict[str, Any]:
        """Describe the script, and return the name of the DAG, the definition and the calibrations.

        :raises AirflowFailException: if the script, the conf or the input cannot be used.
        """
        # Not while a DAG file is parsed.
        from airflow_provider_caf.scripts.importing import import_script

        with failing_for_good(context):
            imported = import_script(self._build_import(context["params"]))
        for line in imported.printed.splitlines():
            self.log.info("| %s", line)
        for warning in imported.warnings:
            self.log.warning("%s", warning)
        self.log.info("The definition is %s: %s", imported.file, ", ".join(imported.calibrations))
        return {"dag_id": imported.name, "file": str(imported.file), "calibrations": list(imported.calibrations)}

    def on_kill(self) -> None:
        """End what describes the script: somebody killed the task, or its worker is told to stop."""
        stop_tied_processes()

    def _build_import(self, params: Mapping[str, Any]) -> ScriptImport:
        config = CafConfig.from_json(read_object(params[CAF_CONFIG], CAF_CONFIG))
        script = self.script or config.caf_script
        if script is None:
            raise DefinitionError("No script is named.", hint="Give caf_script in caf_config.")
        options = dict(self.options or {})
        for word in ("script_folders", "tags"):
            options[word] = tuple(options.get(word) or ())
        return ScriptImport(
            script=script,
            config=config,
            input_data=read_object(params[INPUT_DATA], INPUT_DATA),
            folder=Path(self.folder),
            adds_digest=True,
            after=(),
            starts_paused=False,
            **{**options, "tags": (*options["tags"], _TAG)},
        )


class RunDescribedOperator(TriggerDagRunOperator):
    """Wait until Airflow knows the DAG that was described, trigger it, and wait for its end.

    A second try, or a clear, finds the run that the first one has triggered.

    :param parse_timeout: so many seconds the DAG processor may take to find the definition.
    """

    def __init__(self, *, parse_timeout: float = 900.0, **kwargs: Any) -> None:
        words: dict[str, Any] = {
            "trigger_dag_id": "{{ ti.xcom_pull(task_ids='" + DESCRIBE + "')['dag_id'] }}",
            "trigger_run_id": "{{ dag.dag_id }}.{{ run_id }}",
            "logical_date": None,
            "wait_for_completion": True,
            "deferrable": True,
            "poke_interval": 20,
        }
        super().__init__(**{**words, **kwargs})
        self.parse_timeout = parse_timeout

    def execute(self, context: Context) -> None:
        """Trigger the run, or take up the one that is there.

        :raises AirflowFailException: if that one has failed.
        :raises CafError: if Airflow does not find the definition.
        """
        self._wait_for_dag(context)
        state = self._find_run(context)
        if state is None:
            super().execute(context)
        elif state == "failed":
            raise AirflowFailException(
                f"The run {self.trigger_run_id} of {self.trigger_dag_id} has failed. Clear its failed tasks there, "
                "then clear this one."
            )
        elif state == "success":
            self._emit(context)
        else:
            self.defer(
                trigger=DagStateTrigger(
                    dag_id=self.trigger_dag_id,
                    states=[*self.allowed_states, *self.failed_states],
                    execution_dates=None,
                    run_ids=[str(self.trigger_run_id)],
                    poll_interval=self.poke_interval,
                ),
                method_name="execute_complete",
            )

    def execute_complete(self, context: Context, event: tuple[str, dict[str, Any]]) -> None:
        """Fail where the run has failed; else publish its result to the outlets."""
        super().execute_complete(context, event)
        self._emit(context)

    def _emit(self, context: Context) -> None:
        run = find_run_layout(self.trigger_dag_id, str(self.trigger_run_id))
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = {
                "database": str(run.database),
                "dag_id": self.trigger_dag_id,
                "run_id": str(self.trigger_run_id),
            }

    def _wait_for_dag(self, context: Context) -> None:
        deadline = time.monotonic() + self.parse_timeout
        is_logged = False
        while not _is_known(context, self.trigger_dag_id):
            if time.monotonic() > deadline:
                raise CafError(
                    f"Airflow does not know the DAG {self.trigger_dag_id} after {self.parse_timeout:g} s.",
                    hint="Does the DAG processor see the folder of definitions ([caf] definitions_folder), and are "
                    "there import errors?",
                )
            if not is_logged:
                self.log.info("Waiting until the DAG processor has found %s.", self.trigger_dag_id)
                is_logged = True
            time.sleep(_LOOK_INTERVAL)

    def _find_run(self, context: Context) -> str | None:
        try:
            return str(context["ti"].get_dagrun_state(self.trigger_dag_id, str(self.trigger_run_id)))
        except AirflowRuntimeError:
            # There is none yet.
            return None


def _is_known(context: Context, dag_id: str) -> bool:
    try:
        context["ti"].get_dag(dag_id)
    except AirflowRuntimeError:
        return False
    return True
