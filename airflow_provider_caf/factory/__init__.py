"""The DAG factory: definitions become DAGs."""

from airflow_provider_caf.factory.assets import find_asset
from airflow_provider_caf.factory.dag import build_dag
from airflow_provider_caf.factory.folder import build_dags, find_definitions_folder
from airflow_provider_caf.factory.script import build_script_runner

__all__ = ["build_dag", "build_dags", "build_script_runner", "find_asset", "find_definitions_folder"]
