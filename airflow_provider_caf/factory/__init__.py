"""The DAG factory: definitions become DAGs. What a DAG file does not use is not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_caf.core.lazy import load_lazily

if TYPE_CHECKING:
    from airflow_provider_caf.factory.assets import find_asset
    from airflow_provider_caf.factory.dag import build_dag
    from airflow_provider_caf.factory.folder import build_dags, find_definitions_folder
    from airflow_provider_caf.factory.script import build_script_runner

_HOMES = {
    "build_dag": "factory.dag",
    "build_dags": "factory.folder",
    "build_script_runner": "factory.script",
    "find_asset": "factory.assets",
    "find_definitions_folder": "factory.folder",
}

__all__ = ["build_dag", "build_dags", "build_script_runner", "find_asset", "find_definitions_folder"]

__getattr__, __dir__ = load_lazily(__name__, _HOMES)
