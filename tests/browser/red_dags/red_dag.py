"""A DAG of another team."""

from airflow_provider_caf import CAF, ImportedPayloads, build_dag

theirs = build_dag(CAF("theirs", [ImportedPayloads("by_hand", "/nowhere")]), is_paused_upon_creation=True)
