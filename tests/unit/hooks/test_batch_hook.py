"""The connection to a batch system, read from Airflow as a task reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.hooks.batch import BatchHook


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
    assert hook.test_connection() == (True, "System 'local', arguments: max_processes, setup.")


def test_an_empty_connection_is_the_local_system(connect: Any) -> None:
    hook = connect()
    assert hook.read_system() == "local"
    assert hook.read_arguments() == {}
    assert hook.test_connection() == (True, "System 'local', arguments: none.")


def test_fields_that_were_left_empty_in_the_form_are_not_said(connect: Any) -> None:
    hook = connect({"system": "", "max_processes": None, "python": "", "setup": None})
    assert hook.read_system() == "local"
    assert hook.read_arguments() == {}


def test_a_connection_may_be_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FARM", "caf-batch://?python=%2Fopt%2Fbin%2Fpython3")
    assert BatchHook("farm").read_arguments() == {"python": "/opt/bin/python3"}


def test_an_unknown_argument_is_refused(connect: Any) -> None:
    hook = connect({"max_proceses": 3})
    with pytest.raises(DefinitionError) as caught:
        hook.read_arguments()
    text = str(caught.value)
    assert "connection 'farm' have an unknown argument 'max_proceses'" in text
    assert "'max_processes'" in str(caught.value.hint)
    assert hook.test_connection() == (False, text)


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


def test_the_constructor_only_assigns() -> None:
    """It also runs while a DAG is parsed: the connection need not be there."""
    assert BatchHook("not_there").caf_batch_conn_id == "not_there"
