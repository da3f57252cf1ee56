"""Load every definition of the folder `[caf] definitions_folder`, or of the folder `definitions` beside this file.

Airflow reads this file because of two words in it: airflow, dag.
"""

from __future__ import annotations

from pathlib import Path

from airflow_provider_caf.factory import build_dags, find_definitions_folder

globals().update(build_dags(find_definitions_folder(Path(__file__))))
