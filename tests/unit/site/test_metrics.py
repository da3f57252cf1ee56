"""What reaches the metrics of Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from airflow.observability import stats as server_stats
from airflow.sdk.observability import stats as task_stats

from airflow_provider_caf.site.metrics import count, time_poll


class Backend:
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any, Any]] = []

    def incr(self, stat: str, count: int = 1, **words: Any) -> None:
        self.seen.append((stat, count, words.get("tags")))

    @contextmanager
    def timer(self, stat: str, **words: Any) -> Iterator[None]:
        yield
        self.seen.append((stat, None, words.get("tags")))


@pytest.fixture
def backends() -> Iterator[dict[str, Backend]]:
    made = {"task": Backend(), "server": Backend()}
    task_stats.initialize(factory=lambda: made["task"], export_legacy_names=False)  # type: ignore[arg-type, return-value]
    server_stats.initialize(factory=lambda: made["server"], export_legacy_names=False)  # type: ignore[arg-type, return-value]
    yield made
    for stats in (task_stats, server_stats):
        from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger

        stats.initialize(factory=NoStatsLogger, export_legacy_names=False)


def test_counters_have_our_prefix_and_their_tags(backends: dict[str, Backend]) -> None:
    count("subjobs.failed", 3, dag_id="lab")
    assert backends["task"].seen == [("caf.subjobs.failed", 3, {"dag_id": "lab"})]


def test_nothing_is_not_counted(backends: dict[str, Backend]) -> None:
    count("subjobs.failed", 0)
    assert backends["task"].seen == []


@pytest.mark.parametrize(("in_triggerer", "where"), [(True, "server"), (False, "task")])
def test_a_poll_is_timed_where_airflow_has_set_up_its_metrics(
    backends: dict[str, Backend], in_triggerer: bool, where: str
) -> None:
    with time_poll("slurm", in_triggerer=in_triggerer):
        assert backends[where].seen == []
    assert backends[where].seen == [("caf.poll.duration", None, {"system": "slurm"})]
    other = "task" if where == "server" else "server"
    assert backends[other].seen == []
