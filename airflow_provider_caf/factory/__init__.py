"""The DAG factory: definitions become DAGs."""

from airflow_provider_caf.factory.dag import build_dag

__all__ = ["build_dag"]
