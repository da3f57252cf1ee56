"""The DAG factory: definitions become DAGs. What a DAG file does not use is not imported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_caf.factory.assets import find_asset
    from airflow_provider_caf.factory.dag import build_dag
    from airflow_provider_caf.factory.folder import build_dags, find_definitions_folder
    from airflow_provider_caf.factory.script import build_script_runner

_HOMES = {
    "build_dag": "dag",
    "build_dags": "folder",
    "build_script_runner": "script",
    "find_asset": "assets",
    "find_definitions_folder": "folder",
}

__all__ = ["build_dag", "build_dags", "build_script_runner", "find_asset", "find_definitions_folder"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
