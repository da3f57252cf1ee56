"""The DAG that describes a calibration script, and then runs what it has described.

How many calibrations a script gives may depend on its input. So its DAG is made when it runs: the task `describe`
writes a definition, Airflow finds it, and `run` triggers it and waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_caf.definitions.script_run import ScriptRun
from airflow_provider_caf.factory.assets import find_asset, parse_asset
from airflow_provider_caf.operators.script import (
    CAF_CONFIG,
    DESCRIBE,
    INPUT_DATA,
    RUN,
    DescribeScriptOperator,
    RunDescribedOperator,
)

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
    :param script_run: what is said of the script; None: the conf of a run names it.
    :param dag_id: where `script_run` does not say a name.
    :param options: further words of `ScriptImport` where there is no `script_run`, such as `connection`.
    :param dag_kwargs: what `airflow.sdk.DAG` takes.
    """
    said = script_run
    dag_options: dict[str, Any] = {
        "dag_id": dag_id if said is None else said.name,
        "schedule": None,
        "catchup": False,
        "tags": ["script", "caf"],
        "description": "Describe a calibration script, and run it"
        if said is None
        else f"Describe and run {said.script}",
        "params": _build_params(said),
    }
    if said is not None and said.dag is not None:
        dag_options["tags"] = ["script", "caf", *said.dag.tags]
        dag_options["schedule"] = [parse_asset(each) for each in said.dag.after] or said.dag.schedule
        dag_options["is_paused_upon_creation"] = said.dag.starts_paused
    words = dict(options or {}) if said is None else _build_words(said)
    with DAG(**{**dag_options, **dag_kwargs}) as dag:
        describe = DescribeScriptOperator(
            task_id=DESCRIBE,
            folder=str(Path(folder) / DESCRIBED_FOLDER),
            script=None if said is None else said.script,
            options=words,
        )
        describe >> RunDescribedOperator(task_id=RUN, outlets=[] if said is None else [find_asset(said.name)])
    return dag


def _build_words(said: ScriptRun) -> dict[str, Any]:
    return {
        "caf": said.caf,
        "script_folders": list(said.script_folders),
        "backend": said.backend,
        "connection": said.connection,
        "arguments": dict(said.arguments),
        "validation": said.validation,
        "timeout": said.timeout,
    }


def _build_params(said: ScriptRun | None) -> dict[str, Param]:
    default = {CAF_CONFIG: None, INPUT_DATA: None}
    if said is not None:
        default = {CAF_CONFIG: said.caf_config, INPUT_DATA: said.input_data}
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
