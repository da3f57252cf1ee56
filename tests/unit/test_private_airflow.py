"""The parts of a private Airflow that start nothing: where its things lie and what its processes are told."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import TransportError
from tests import private_airflow
from tests.private_airflow import TASKS_SERVER, PrivateAirflow


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrivateAirflow:
    """An Airflow of which nothing is started."""
    monkeypatch.setattr(PrivateAirflow, "run_cli", lambda *_, **__: "")
    monkeypatch.setattr(PrivateAirflow, "start_component", lambda *_: None)
    monkeypatch.setattr(PrivateAirflow, "_wait_until_healthy", lambda _: None)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "of the user")
    monkeypatch.setenv("AIRFLOW_CONN_MINE", "of the user")
    return PrivateAirflow(
        tmp_path / "home", tmp_path / "dags", settings={"AIRFLOW__CAF__WORK_DIR": "/w"}, parallelism=7
    )


def test_its_processes_see_nothing_of_another_airflow(prepared: PrivateAirflow) -> None:
    with prepared as airflow:
        environment = airflow.environment
    assert "of the user" not in environment.values()
    assert environment["AIRFLOW_HOME"] == str(prepared.home)
    assert environment["AIRFLOW__CORE__DAGS_FOLDER"] == str(prepared.dags_folder)
    assert environment["AIRFLOW__CORE__PARALLELISM"] == "7"
    assert environment["AIRFLOW__CAF__WORK_DIR"] == "/w"
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"sqlite:///{prepared.home / 'airflow.db'}?timeout=60"


def test_it_listens_on_the_loopback_interface_only(prepared: PrivateAirflow) -> None:
    with prepared as airflow:
        port = airflow.environment["AIRFLOW__API__PORT"]
        assert airflow.environment["AIRFLOW__API__HOST"] == "127.0.0.1"
        assert airflow.url == f"http://127.0.0.1:{port}"
        tasks_port = airflow._find_environment(TASKS_SERVER)["AIRFLOW__API__PORT"]
        assert tasks_port != port
        tasks_url = airflow.environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
        assert tasks_url == f"http://127.0.0.1:{tasks_port}/execution/"


def test_its_password_is_its_own_and_is_kept(prepared: PrivateAirflow) -> None:
    with prepared as airflow:
        first = airflow.password
    file = prepared.home / "passwords.json"
    assert len(first) >= 12
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(prepared.home.stat().st_mode) == 0o700
    with prepared as airflow:
        assert airflow.password == first


def test_two_of_them_have_their_own_secrets(prepared: PrivateAirflow, tmp_path: Path) -> None:
    other = PrivateAirflow(tmp_path / "other", tmp_path / "dags")
    with prepared, other:
        for name in ("AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET"):
            assert prepared.environment[name] != other.environment[name]
        assert prepared.password != other.password


def test_free_ports_differ_and_can_be_listened_on() -> None:
    ports = private_airflow._find_free_ports(5)
    assert len(set(ports)) == 5
    with socket.socket() as one:
        one.bind(("127.0.0.1", ports[0]))


def test_a_component_that_ends_is_told_with_what_it_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended:
        returncode = 3
        pid = 2**22  # higher than any process here

        def poll(self) -> int:
            return 3

        def wait(self, *_: Any) -> int:
            return 3

    airflow = PrivateAirflow(tmp_path / "home", tmp_path / "dags")

    def start(self: PrivateAirflow, component: str) -> None:
        (self.home / f"{component}.out").write_text("no module named x\n")
        self.processes[component] = Ended()  # type: ignore[assignment]

    monkeypatch.setattr(PrivateAirflow, "run_cli", lambda *_, **__: "")
    monkeypatch.setattr(PrivateAirflow, "start_component", start)
    monkeypatch.setattr(PrivateAirflow, "_is_healthy", lambda _: False)
    monkeypatch.setattr(private_airflow, "_signal_group", lambda *_: None)
    with pytest.raises(TransportError) as caught:
        airflow.start()
    assert "The api-server of the private Airflow ended with 3:\nno module named x" in str(caught.value)
    assert "api-server.out" in str(caught.value.hint)
    assert airflow.processes == {}


def test_states_are_read_from_its_database(prepared: PrivateAirflow) -> None:
    prepared.home.mkdir()
    with contextlib.closing(sqlite3.connect(prepared.home / "airflow.db")) as database:
        database.execute("CREATE TABLE dag_run (dag_id, run_id, state)")
        database.execute("CREATE TABLE task_instance (dag_id, run_id, task_id, state)")
        database.executemany("INSERT INTO dag_run VALUES (?, ?, ?)", [("a", "r1", "running"), ("b", "r2", "failed")])
        tasks = [("a", "r1", "t1", "success"), ("a", "r1", "t2", None), ("b", "r2", "t1", "failed")]
        database.executemany("INSERT INTO task_instance VALUES (?, ?, ?, ?)", tasks)
        database.commit()
    assert prepared.read_run_state("a", "r1") == "running"
    assert prepared.read_task_states("a", "r1") == {"t1": "success", "t2": None}
    assert prepared.find_runs("b") == ["r2"]
