"""The connection that has the token of the conditions database."""

from __future__ import annotations

import json

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.hooks.token import read_token


def test_login_and_password_are_user_and_token(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"conn_type": "generic", "login": "anna", "password": " a.b.c\n"}
    monkeypatch.setenv("AIRFLOW_CONN_CONDITIONS", json.dumps(words))
    assert read_token("conditions") == ("anna", "a.b.c")


@pytest.mark.parametrize("words", [{"login": "anna"}, {"password": "a"}, {"login": "../anna", "password": "a"}])
def test_what_is_missing_is_told_and_no_token(words: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CONDITIONS", json.dumps({"conn_type": "generic", **words}))
    with pytest.raises(DefinitionError, match="no usable login or no password"):
        read_token("conditions")


def test_a_connection_that_is_not_there_is_told() -> None:
    with pytest.raises(DefinitionError, match="There is no connection 'nowhere'"):
        read_token("nowhere")
