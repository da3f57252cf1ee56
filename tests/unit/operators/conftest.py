"""The context of a task."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.store import Store

if TYPE_CHECKING:
    from tests.unit.conftest import Lab


@pytest.fixture
def context(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", str(lab.run.work_dir))
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(dag_id=lab.run.dag_id, run_id=lab.run.run_id, map_index=-1, pushed=pushed)
    ti.xcom_push = lambda key, value: pushed.update({key: value})
    return {"ti": ti, "task_state_store": Store()}
