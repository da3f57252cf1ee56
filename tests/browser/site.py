"""An Airflow with runs to look at, and a browser to look with."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response

if TYPE_CHECKING:
    from tests.integration.started_airflow import StartedAirflow
    from tests.private_airflow import PrivateAirflow

# As root, and on a machine without graphics and without a way out.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LARGEST_ANSWER = 300_000


@dataclass
class Site:
    """The started Airflow and the runs in it to look at.

    :param runs: DAG id → run id.
    """

    started: StartedAirflow
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def airflow(self) -> PrivateAirflow:
        """The Airflow itself."""
        return self.started.airflow

    def build_address(self, dag_id: str | None = None, **words: str) -> str:
        """Give the address of the page of a run, or of the list of runs."""
        if dag_id is None:
            return f"{self.airflow.url}/caf/"
        return f"{self.airflow.url}/caf/?{urlencode({'dag_id': dag_id, 'run_id': self.runs[dag_id], **words})}"

    def read_password(self, user: str) -> str:
        """Give the password of a user."""
        passwords = json.loads((self.airflow.home / "passwords.json").read_text())
        return str(passwords[user])

    def read_token(self, user: str) -> str:
        """Log in, and give the token."""
        body = json.dumps({"username": user, "password": self.read_password(user)}).encode()
        request = urllib.request.Request(
            f"{self.airflow.url}/auth/token", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(json.loads(answer.read())["access_token"])

    def ask(self, path: str, token: str | None) -> tuple[int, bytes]:
        """Get a path of the page's own API, and give status and body."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{self.airflow.url}/caf/api/{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


class Window:
    """A page of the browser, and what went wrong in it.

    :param pictures: a folder for screenshots.
    """

    def __init__(self, context: BrowserContext, site: Site, pictures: Path) -> None:
        self.site = site
        self.pictures = pictures
        self.faults: list[str] = []
        self.outside: list[str] = []
        self.answers: list[Response] = []
        self.page: Page = context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._keep_error)
        self.page.on("request", lambda request: self._check_address(request.url))
        self.page.on("response", self._keep_answer)

    def open(self, dag_id: str | None = None, **words: str) -> Page:
        """Open the CAF page, and wait until it shows something."""
        self.page.goto(self.site.build_address(dag_id, **words))
        self.page.wait_for_selector("h1, .error")
        return self.page

    def photograph(self, name: str, *, full: bool = True) -> None:
        """Take a picture of what is to be seen."""
        self.page.evaluate("document.activeElement?.blur()")
        self.page.screenshot(path=self.pictures / f"page-{name}.png", full_page=full)

    def _check_address(self, address: str) -> None:
        if not address.startswith((self.site.airflow.url, "data:")):
            self.outside.append(address)

    def _keep_error(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.faults.append(message.text)

    def _keep_answer(self, response: Response) -> None:
        if "/caf/api/" in response.url:
            self.answers.append(response)

    def measure_answers(self) -> dict[str, int]:
        """Give the size of every answer of the page's own API: address → bytes, as they are on the way."""
        return {each.url: len(each.body()) for each in self.answers}


def log_in(browser: Browser, site: Site, user: str) -> dict[str, object]:
    """Log in as a person does, and give the state of the browser."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site.airflow.url}/auth/login/?next=/")
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", site.read_password(user))
    page.click("button[type=submit]")
    page.wait_for_url(f"{site.airflow.url}/")
    state: dict[str, object] = dict(context.storage_state())
    context.close()
    return state
