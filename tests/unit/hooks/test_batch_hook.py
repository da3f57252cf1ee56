"""The connection to a batch system, read from Airflow as a task reads it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.hooks.batch import BatchHook, SubmitHost, choose_connection
from airflow_provider_caf.jobs.transport.local import LocalTransport
from tests.ssh_server import start_ssh_server


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that defines the connection `farm` and opens it."""

    def define(extra: dict[str, Any] | None = None, conn_type: str = "caf_batch") -> BatchHook:
        monkeypatch.setenv("AIRFLOW_CONN_FARM", json.dumps({"conn_type": conn_type, "extra": extra or {}}))
        return BatchHook("farm")

    return define


def test_a_connection_gives_its_system_and_arguments(connect: Any) -> None:
    hook = connect({"system": "local", "max_processes": 3, "setup": "source /site/setup.sh"})
    assert hook.read_system() == "local"
    assert hook.read_arguments() == {"max_processes": 3, "setup": "source /site/setup.sh"}
    assert hook.read_submit_host() == SubmitHost()
    assert hook.test_connection() == (
        True,
        f"System 'local' on {LocalTransport().host}, arguments: max_processes, setup. It answers.",
    )


def test_an_empty_connection_is_the_local_system(connect: Any) -> None:
    hook = connect()
    assert hook.read_system() == "local"
    assert hook.read_arguments() == {}
    is_good, text = hook.test_connection()
    assert is_good
    assert "arguments: none." in text


def test_fields_that_were_left_empty_in_the_form_are_not_said(connect: Any) -> None:
    hook = connect({"system": "", "max_processes": None, "python": "", "setup": None, "ssh_conn_id": ""})
    assert hook.read_system() == "local"
    assert hook.read_submit_host() == SubmitHost()
    assert hook.read_arguments() == {}


def test_a_connection_may_be_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FARM", "caf-batch://?python=%2Fopt%2Fbin%2Fpython3")
    assert BatchHook("farm").read_arguments() == {"python": "/opt/bin/python3"}


def test_an_unknown_argument_is_refused(connect: Any) -> None:
    hook = connect({"max_proceses": 3})
    with pytest.raises(DefinitionError) as caught:
        hook.read_arguments()
    text = str(caught.value)
    assert "The connection 'farm' has an unknown argument 'max_proceses'." in text
    assert "'max_processes'" in str(caught.value.hint)
    assert hook.test_connection() == (False, text)


def test_a_slip_in_another_field_is_told_too(connect: Any) -> None:
    with pytest.raises(DefinitionError, match=r"unknown argument 'ssh_con_id'.*\n.*Did you mean 'ssh_conn_id'"):
        connect({"ssh_con_id": "login"}).read_submit_host()


@pytest.mark.parametrize(
    ("given", "name"), [("HTCondor", "htcondor"), ("LSF", "lsf"), ("PBS", "pbs"), ("slurm", "slurm")]
)
def test_the_spellings_of_the_caf_are_known(connect: Any, given: str, name: str) -> None:
    assert connect({"system": given}).read_system() == name


def test_an_unknown_system_is_refused(connect: Any) -> None:
    hook = connect({"system": "slrum"})
    with pytest.raises(DefinitionError, match=r"no batch system 'slrum'.*\n.*Did you mean 'slurm'"):
        hook.read_system()
    assert not hook.test_connection()[0]


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        ({"remote_work_dir": "/r"}, "has a remote_work_dir but no ssh_conn_id"),
        ({"remote_work_dir": "caf", "ssh_conn_id": "login"}, "remote_work_dir of connection 'farm' is 'caf'"),
        ({"ssh_conn_id": 5}, "ssh_conn_id of connection 'farm' is 5"),
    ],
)
def test_a_submit_host_that_cannot_be_is_refused(connect: Any, extra: dict[str, Any], what: str) -> None:
    with pytest.raises(DefinitionError, match=what):
        connect(extra).read_submit_host()


@pytest.mark.parametrize(("name", "value"), [("max_processes", 0), ("max_processes", "many"), ("environment", "A=1")])
def test_a_value_that_cannot_be_is_refused(connect: Any, name: str, value: Any) -> None:
    with pytest.raises(DefinitionError, match=rf"argument '{name}' of connection 'farm'"):
        connect({name: value}).read_arguments()


def test_another_type_of_connection_is_refused(connect: Any) -> None:
    hook = connect(conn_type="ssh")
    with pytest.raises(DefinitionError, match=r"The connection 'farm' is of type 'ssh'\.") as caught:
        hook.read_arguments()
    assert "type 'caf_batch'" in str(caught.value.hint)
    is_good, text = hook.test_connection()
    assert not is_good
    assert "'ssh'" in text


@pytest.mark.parametrize(
    ("script", "is_good", "said"),
    [
        ("echo 'Slurmctld(primary) at ctl is UP'", True, "It answers: Slurmctld(primary) at ctl is UP"),
        ("echo 'cannot contact' >&2; exit 1", False, "scontrol ended with exit code 1: cannot contact"),
    ],
)
def test_a_test_of_the_connection_asks_the_server(
    connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, is_good: bool, said: str
) -> None:
    command = tmp_path / "scontrol"
    command.write_text(f'#!/bin/sh\n[ "$*" = ping ] || exit 9\n{script}\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    good, text = connect({"system": "slurm", "queue": "long"}).test_connection()
    assert good is is_good
    assert "System 'slurm' on" in text
    assert said in text


def test_a_test_of_a_system_that_is_not_there_fails(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    is_good, text = connect({"system": "LSF"}).test_connection()
    assert not is_good
    assert "There is no command 'bqueues'" in text


def test_without_ssh_the_commands_run_here(connect: Any) -> None:
    connect({"max_processes": 2})
    here = BatchHook("farm").open_transport()
    assert isinstance(here, LocalTransport)
    assert BatchHook("farm").open_transport() is here


def test_all_that_go_to_one_host_share_a_transport(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect({"ssh_conn_id": "login"})
    monkeypatch.setenv("AIRFLOW_CONN_LOGIN", "ssh://me@host.example")
    first = BatchHook("farm").open_transport()
    assert first.host == "me@host.example"
    assert BatchHook("farm").open_transport() is first
    # Somebody has changed the SSH connection.
    monkeypatch.setenv("AIRFLOW_CONN_LOGIN", "ssh://me@other.example")
    assert BatchHook("farm").open_transport().host == "me@other.example"
    # With another folder it is another transport, and another name: nobody shares its polls.
    connect({"ssh_conn_id": "login", "remote_work_dir": "/r"})
    assert BatchHook("farm").open_transport().host == "me@other.example:/r"


def test_an_ssh_connection_that_is_not_there_is_told(connect: Any) -> None:
    hook = connect({"ssh_conn_id": "no_such_login"})
    with pytest.raises(DefinitionError, match=r"SSH connection 'no_such_login' could not be read.*\n.*ssh_conn_id"):
        hook.open_transport()
    assert not hook.test_connection()[0]


def test_a_connection_that_is_not_there_is_told() -> None:
    """No retry defines it: a task fails with it at once."""
    with pytest.raises(DefinitionError, match=r"There is no connection 'no_such_farm'\.\n.*Define it in Airflow"):
        BatchHook("no_such_farm").read_system()
    with pytest.raises(DefinitionError, match="no_such_farm"):
        BatchHook("no_such_farm").open_transport()


def test_without_the_extra_ssh_it_is_told_what_to_install(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)
    with pytest.raises(DefinitionError, match=r"ssh is not installed.*\n.*airflow-provider-caf\[ssh\]"):
        connect({"ssh_conn_id": "login"}).open_transport()


def test_a_test_over_ssh(connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = connect({"ssh_conn_id": "login"})
    with start_ssh_server(tmp_path) as server:
        extra = {"key_file": str(server.key_file), "host_key": server.host_key}
        login = {"conn_type": "ssh", "host": "127.0.0.1", "port": server.port, "login": server.user, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_LOGIN", json.dumps(login))
        is_good, text = hook.test_connection()
        where = f"{server.user}@127.0.0.1:{server.port}"
        assert (is_good, text) == (True, f"System 'local' on {where}, arguments: none. It answers.")
        hook.open_transport().close()
        # The host's key is checked as the SSH connection says.
        with start_ssh_server(tmp_path / "other") as other:
            login["extra"] = {**extra, "host_key": other.host_key}
        monkeypatch.setenv("AIRFLOW_CONN_LOGIN", json.dumps(login))
        is_good, text = hook.test_connection()
        assert not is_good
        assert "could not be reached" in text


def test_the_constructor_only_assigns() -> None:
    """It also runs while a DAG is parsed: the connection need not be there."""
    assert BatchHook("not_there").caf_batch_conn_id == "not_there"


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({}, True),
        ({"backend": None, "connection": None}, True),
        ({"backend": "SLURM"}, True),
        ({"backend": "local"}, False),
        ({"backend": "lsf", "connection": None}, False),
    ],
)
def test_a_backend_of_the_run_leaves_out_a_connection_that_leads_elsewhere(
    connect: Any, params: dict[str, Any], kept: bool
) -> None:
    connect({"system": "slurm"})
    definition = {"name": "caf", "connection": "farm", **{word: text for word, text in params.items() if text}}
    chosen = choose_connection(definition, params)
    assert ("connection" in chosen) is kept
    assert definition["connection"] == "farm"


def test_a_connection_of_the_run_itself_stays(connect: Any) -> None:
    connect({"system": "slurm"})
    params = {"backend": "local", "connection": "farm"}
    assert choose_connection(params, params) == params
