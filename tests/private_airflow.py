"""A whole Airflow of one's own, for the demonstration, the tests and the benchmarks.

It has its own `AIRFLOW_HOME`, its own free ports on the loopback interface, its own secrets and an SQLite database, so
that it disturbs no other Airflow on the machine and leaves nothing running behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_caf.core.environment import build_child_environment
from airflow_provider_caf.core.errors import TransportError
from airflow_provider_caf.core.files import PRIVATE, read_json, write_json
from airflow_provider_caf.core.tails import cut_tail, read_tail

TASKS_SERVER = "tasks-api-server"

COMPONENTS: Mapping[str, Sequence[str]] = {
    # A server writes who asked for what in its event loop. Where it waits there for SQLite, and SQLite is held by the
    # request of a task, which waits for the event loop, both would stand still until one gives up. So tasks have a
    # server of their own.
    "api-server": ("api-server", "--apps", "core"),
    TASKS_SERVER: ("api-server", "--apps", "execution"),
    "scheduler": ("scheduler",),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer",),
}
"""Name → words after `airflow`."""

_JOB_TYPES = {"scheduler": "SchedulerJob", "dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}
"""Component → what Airflow calls it in its table of those that have a heart."""

_USER = "admin"
_START_SECONDS = 600.0
_STOP_SECONDS = 15.0
"""Seconds."""

_SERVER_ERRORS = 500
"""HTTP's first code that blames the server."""

_SHOWN_LINES = 30


class PrivateAirflow:
    """Start, ask and stop an Airflow in a folder.

    :param home: its `AIRFLOW_HOME`; made where it is not there.
    :param dags_folder: where its DAG files lie.
    :param settings: further environment variables, such as `AIRFLOW__CAF__WORK_DIR`.
    :param parallelism: how many tasks run at once.
    :param first_commands: words of `airflow` commands that are run before the first start, when the database is there.
    """

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        parallelism: int = 4,
        first_commands: Sequence[Sequence[str]] = (),
    ) -> None:
        self.home = home
        self.dags_folder = dags_folder
        self.parallelism = parallelism
        self.first_commands = first_commands
        self.settings = dict(settings or {})
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment: dict[str, str] = {}
        self._token: str | None = None
        self._writing = threading.Lock()

    @property
    def url(self) -> str:
        """The address of the web UI."""
        return self.environment["AIRFLOW__API__BASE_URL"]

    @property
    def user(self) -> str:
        """The one user, who may do everything."""
        return _USER

    @property
    def password(self) -> str:
        """The user's password, made at the first start."""
        passwords = read_json(self.home / "passwords.json", "the passwords of the private Airflow")
        return str(passwords[_USER])

    def __enter__(self) -> PrivateAirflow:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Make the database and start every component, and wait until all are healthy.

        :raises TransportError: if a component ends or does not become healthy in time.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        if not (self.home / "passwords.json").exists():
            write_json(self.home / "passwords.json", {_USER: secrets.token_urlsafe(12)}, mode=PRIVATE)
        is_first = not self.environment
        if is_first:  # else started again: with the secrets that it had
            self.environment = self._build_environment()
        for words in (["db", "migrate"], *(self.first_commands if is_first else ())):
            self.run_cli(words)
        if is_first:
            self._let_readers_go_on()
        try:
            for component in COMPONENTS:
                self.start_component(component)
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise

    def start_component(self, component: str) -> None:
        """Start one of `COMPONENTS` in a session of its own; its output goes to `<home>/<component>.out`."""
        with (self.home / f"{component}.out").open("ab") as output:
            self.processes[component] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *COMPONENTS[component]],
                env=self._find_environment(component),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Stop every component and what it started."""
        for process in self.processes.values():
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):  # the group is killed below
                process.wait(max(0.1, deadline - time.monotonic()))
            _kill_session(process)
            process.wait()
        self.processes.clear()

    def kill_component(self, component: str) -> None:
        """Kill a component and all that it has started at once, as a crash of the machine would.

        That its heart has stopped Airflow believes after some time. Here that has passed already: where it is set to be
        short, a busy machine passes for dead, and its tasks are begun anew again and again.
        """
        process = self.processes.pop(component)
        _kill_session(process)
        process.wait()
        with contextlib.closing(sqlite3.connect(self.home / "airflow.db", timeout=60)) as database, database:
            long_ago = "2000-01-01 00:00:00.000000"
            query = "UPDATE job SET latest_heartbeat = ? WHERE job_type = ? AND state = 'running'"
            database.execute(query, (long_ago, _JOB_TYPES.get(component)))

    def run_cli(self, arguments: Sequence[str], *, timeout: float = 600.0) -> str:
        """Run `airflow <arguments>` and give its standard output.

        :raises TransportError: if it ends with another code than 0.
        """
        result = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if result.returncode != 0:
            raise TransportError(
                f"`airflow {' '.join(arguments)}` ended with {result.returncode}:\n"
                + cut_tail(result.stderr, _SHOWN_LINES)
            )
        return result.stdout

    def call_api(self, method: str, path: str, body: Any = None, *, timeout: float = 60.0) -> Any:
        """Call the public REST API, such as `GET /dags`, and give the decoded answer.

        :raises TransportError: if the server refuses or does not answer.
        """
        request = urllib.request.Request(
            f"{self.url}/api/v2{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._get_token()}", "Content-Type": "application/json"},
        )
        # To ask again for what only reads does no harm: a busy machine, or a database that another held for too long.
        for is_last in (method != "GET", False, False, True):
            try:
                # Two that write would wait for each other as those of `COMPONENTS` do.
                one_at_a_time = contextlib.nullcontext() if method == "GET" else self._writing
                with one_at_a_time, urllib.request.urlopen(request, timeout=timeout) as answer:
                    text = answer.read()
                break
            except urllib.error.HTTPError as error:
                if is_last or error.code < _SERVER_ERRORS:
                    raise TransportError(
                        f"{method} {path} was answered with {error.code}: {error.read()[:2000]!r}"
                    ) from error
            except OSError as error:
                if is_last or not isinstance(error, TimeoutError):
                    raise TransportError(f"{method} {path} was not answered within {timeout:g} s: {error}") from error
            time.sleep(1.0)
        return json.loads(text) if text else None

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Trigger a DAG with `airflow dags trigger`, as a user does, and give the run's id.

        :raises TransportError: if Airflow refuses.
        """
        run_id = f"manual__{datetime.now(UTC).isoformat(timespec='microseconds')}"
        self.run_cli(["dags", "trigger", dag_id, "--run-id", run_id, "--conf", json.dumps(dict(conf))])
        return run_id

    def read_run_state(self, dag_id: str, run_id: str) -> str:
        """Give the state of a run."""
        ((state,),) = self._read("SELECT state FROM dag_run WHERE dag_id = ? AND run_id = ?", dag_id, run_id)
        return str(state)

    def read_task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Give the states of all tasks of a run, by task id."""
        return dict(
            self._read("SELECT task_id, state FROM task_instance WHERE dag_id = ? AND run_id = ?", dag_id, run_id)
        )

    def find_runs(self, dag_id: str) -> list[str]:
        """Give the ids of all runs of a DAG."""
        return [run_id for (run_id,) in self._read("SELECT run_id FROM dag_run WHERE dag_id = ?", dag_id)]

    def _read(self, query: str, *values: str) -> list[Any]:
        """Ask the database: who waits asks often, and an answer of the web server costs as much as a small task."""
        place = f"{(self.home / 'airflow.db').as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(place, uri=True, timeout=60)) as database:
            return database.execute(query, values).fetchall()

    def wait_for_dag(self, dag_id: str, *, timeout: float = 600.0) -> None:
        """Wait until the DAG processor has read a DAG.

        :raises TransportError: if it has not in time; the import errors are in the message.
        """
        deadline = time.monotonic() + timeout
        while True:
            if self._read("SELECT 1 FROM dag WHERE dag_id = ? AND NOT is_stale", dag_id):
                return
            if time.monotonic() > deadline:
                errors = self.call_api("GET", "/importErrors")["import_errors"]
                raise TransportError(f"The DAG {dag_id!r} did not appear in {timeout:.0f} s. {errors}")
            time.sleep(0.3)

    def _let_readers_go_on(self) -> None:
        """Let SQLite keep a write-ahead log: who reads does not wait for who writes. The file remembers it."""
        with contextlib.closing(sqlite3.connect(self.home / "airflow.db")) as database:
            database.execute("PRAGMA journal_mode=WAL")

    def _build_environment(self) -> dict[str, str]:
        port, tasks_port, worker_log_port, trigger_log_port = _find_free_ports(4)
        own = {
            "AIRFLOW_HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONUNBUFFERED": "1",
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{tasks_port}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": str(self.parallelism),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{_USER}:admin",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            # One writes at a time; on a busy machine the others may wait longer than SQLite's own 5 s.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}?timeout=60",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_log_port),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_log_port),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        }
        return build_child_environment(os.environ, own | self.settings)

    def _find_environment(self, component: str) -> dict[str, str]:
        """Give the variables of a component: the server of the tasks listens where they ask."""
        if component != TASKS_SERVER:
            return self.environment
        port = urlsplit(self.environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]).port
        return {**self.environment, "AIRFLOW__API__PORT": str(port)}

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_healthy():
            for component, process in self.processes.items():
                if process.poll() is not None:
                    log = self.home / f"{component}.out"
                    raise TransportError(
                        f"The {component} of the private Airflow ended with {process.returncode}:\n"
                        + read_tail(log, _SHOWN_LINES),
                        hint=f"Read {log}.",
                    )
            if time.monotonic() > deadline:
                raise TransportError(
                    f"The private Airflow was not healthy within {_START_SECONDS:.0f} s.",
                    hint=f"Read the .out files in {self.home}.",
                )
            time.sleep(0.3)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/monitor/health", timeout=5) as answer:
                health = json.loads(answer.read())
            tasks_url = self.environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
            urllib.request.urlopen(f"{tasks_url}health", timeout=5).close()
        except (OSError, ValueError):
            return False  # not up yet; the caller has a deadline
        return all(part.get("status") == "healthy" for part in health.values())

    def _get_token(self) -> str:
        if self._token is None:
            request = urllib.request.Request(
                f"{self.url}/auth/token",
                data=json.dumps({"username": _USER, "password": self.password}).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                self._token = str(json.loads(answer.read())["access_token"])
        return self._token


def _find_free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it and all its children have ended
        os.killpg(process.pid, number)


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill a component and all that it has started: tasks have groups of their own, but its session."""
    _signal_group(process, signal.SIGKILL)
    for other in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            if os.getsid(int(other.name)) == process.pid:
                os.kill(int(other.name), signal.SIGKILL)
