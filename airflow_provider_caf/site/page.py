"""Where the CAF page is: for the plugin that serves it, and for the links of tasks to it."""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

from airflow.sdk import conf

URL_PREFIX = "/caf"


def find_root() -> str:
    """Return the path of the page, as the browser sees it: behind the path of `[api] base_url`."""
    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/") + URL_PREFIX


def build_run_address(dag_id: str, run_id: str, calibration: str | None = None, *, part: str = "") -> str:
    """Build the address of a run's page.

    :param calibration: the one that is opened.
    :param part: the id of an element to go to.
    """
    words = {"dag_id": dag_id, "run_id": run_id} | ({} if calibration is None else {"calibration": calibration})
    return f"{find_root()}/?{urlencode(words)}" + (f"#{quote(part)}" if part else "")


def build_log_address(dag_id: str, run_id: str, calibration: str, iteration: int, step: str) -> str:
    """Build the address of the log of an algorithm."""
    words = {"run_id": run_id, "name": calibration, "iteration": iteration, "step": step}
    return f"{find_root()}/api/dags/{quote(dag_id, safe='')}/log?{urlencode(words)}"
