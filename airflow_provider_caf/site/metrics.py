"""Counts and times, through Airflow's metrics: to StatsD or OpenTelemetry, as the site has set it up."""

from __future__ import annotations

from contextlib import AbstractContextManager

from airflow.sdk.observability import stats as task_stats


def count(name: str, number: int, **tags: str) -> None:
    """Add to a counter, from a task.

    :param name: without its prefix `caf.`.
    """
    if number:
        task_stats.incr(f"caf.{name}", number, tags=tags)


def time_poll(system: str, *, in_triggerer: bool) -> AbstractContextManager[object]:
    """Time one question to a batch system, as `caf.poll.duration`.

    :param in_triggerer: Airflow sets up its metrics there, and those of its SDK in tasks.
    """
    tags = {"system": system}
    if in_triggerer:
        from airflow.observability import stats as server_stats

        return server_stats.timer("caf.poll.duration", tags=tags)
    return task_stats.timer("caf.poll.duration", tags=tags)
