"""Run a calibration script of Belle II's kind: the conf of a run says which one, and with which data.

    airflow dags trigger caf_script_runner --conf '{"caf_config": {...}, "input_data": {...}}'

Airflow reads this file because of two words in it: airflow, dag.
"""

from __future__ import annotations

from pathlib import Path

from airflow_provider_caf.factory import build_script_runner, find_definitions_folder

dag = build_script_runner(find_definitions_folder(Path(__file__)))
