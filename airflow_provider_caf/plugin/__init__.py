"""The CAF page in Airflow's web interface. `CafPlugin` is what Airflow loads, in every one of its processes."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_caf.factory.ahead import import_ahead
from airflow_provider_caf.site.page import URL_PREFIX, find_root


class _LazyApp:
    """The web application, made at its first request: schedulers and workers load this plugin too, and need it not."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if self._app is None:
            from airflow_provider_caf.plugin.app import build_app

            self._app = build_app()
        await self._app(scope, receive, send)


def _list_views() -> list[dict[str, str]]:
    root = find_root()
    places = {
        "nav": f"{root}/",
        "dag": f"{root}/?dag_id={{DAG_ID}}",
        "dag_run": f"{root}/?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
    }
    return [
        {
            "name": "Calibrations" if destination == "nav" else "CAF",
            "href": href,
            "destination": destination,
            "url_route": f"caf_{destination}",
            **({"category": "browse"} if destination == "nav" else {}),
        }
        for destination, href in places.items()
    ]


class CafPlugin(AirflowPlugin):
    """Put the CAF page into the navigation, and into every DAG and DAG run."""

    name = "caf"
    fastapi_apps = [{"app": _LazyApp(), "url_prefix": URL_PREFIX, "name": "CAF"}]  # noqa: RUF012
    external_views = _list_views()

    @classmethod
    def on_load(cls, *_args: Any, **_kwargs: Any) -> None:
        """Let what Airflow forks share what it would import in each fork. A listener would do it, too: Airflow refuses
        all tasks with `end_from_trigger` where there is one."""
        import_ahead()
