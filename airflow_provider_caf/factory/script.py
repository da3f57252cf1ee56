"""The DAG that describes a calibration script, and then runs what it has described.

How many calibrations a script gives may depend on its input. So its DAG is made when it runs: the task `describe`
writes a definition, Airflow finds it, and `run` triggers it and waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_caf.core.task_ids import DESCRIBE, RUN
from airflow_provider_caf.factory.assets import find_asset
from airflow_provider_caf.factory.dag import read_options
from airflow_provider_caf.operators.script import (
    CAF_CONFIG,
    INPUT_DATA,
    DescribeScriptOperator,
    RunDescribedOperator,
)
from airflow_provider_caf.scripts.script_run import ScriptRun

DESCRIBED_FOLDER = "described"
"""In the folder of definitions: where the definitions of such runs go."""

_TEXTS = {
    CAF_CONFIG: "What caf_config.json holds, or its path: caf_script, database_chain, backend_args, requested_iov, "
    "expert_config, testing_payloads.",
    INPUT_DATA: "What input_data.json holds, or its path: name → list of [folder, file or URI, [exp, run]].",
}


def build_script_runner(
    folder: str | Path,
    script_run: ScriptRun | None = None,
    *,
    dag_id: str = "caf_script_runner",
    options: Mapping[str, Any] | None = None,
    **dag_kwargs: Any,
) -> DAG:
    """Build the DAG of a script.

    :param folder: of definitions, which the DAG processor and the workers see.
    :param script_run: the script with its options; None: the conf of a run names it.
    :param dag_id: where there is no `script_run`.
    :param options: further words of `ScriptImport` where there is no `script_run`, such as `connection`.
    :param dag_kwargs: what `airflow.sdk.DAG` takes.
    """
    script = None if script_run is None else script_run.script
    dag_options: dict[str, Any] = {
        "dag_id": dag_id if script_run is None else script_run.name,
        **read_options(None if script_run is None else script_run.dag, "script", "caf"),
        "description": f"Describe and run {script or 'a calibration script'}",
        "params": _build_params(script_run),
    }
    with DAG(**{**dag_options, **dag_kwargs}) as dag:
        describe = DescribeScriptOperator(
            task_id=DESCRIBE,
            folder=str(Path(folder) / DESCRIBED_FOLDER),
            script=script,
            options=dict(options or {}) if script_run is None else script_run.list_options(),
        )
        describe >> RunDescribedOperator(
            task_id=RUN, outlets=[] if script_run is None else [find_asset(script_run.name)]
        )
    return dag


def _build_params(script_run: ScriptRun | None) -> dict[str, Param]:
    default = {CAF_CONFIG: None, INPUT_DATA: None}
    if script_run is not None:
        default = {CAF_CONFIG: script_run.caf_config, INPUT_DATA: script_run.input_data}
    return {
        # Without a default a run has to give it: Airflow asks for it in the form.
        name: Param(
            value,
            type=["object", "string"] if value is not None else ["object", "string", "null"],
            title=name,
            description=_TEXTS[name],
        )
        for name, value in default.items()
    }
