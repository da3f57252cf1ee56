"""Says what was loaded when this file was read, before it loaded anything of the package itself."""

from __future__ import annotations

import sys

from airflow.sdk import dag, task

IS_LOADED = "airflow_provider_caf.operators.prepare" in sys.modules


@dag(schedule=None, tags=["loaded" if IS_LOADED else "not loaded"])
def ahead() -> None:
    @task
    def look() -> bool:
        return IS_LOADED

    look()


ahead()
