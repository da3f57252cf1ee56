"""No child process gets Airflow's own variables, under whatever name they come."""

from __future__ import annotations

import pytest

from airflow_provider_caf.core.environment import build_child_environment


@pytest.mark.parametrize(
    "name",
    [
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_SECRET",
        "AIRFLOW_CONN_CAF_CATALOG",
        "AIRFLOW_VAR_TOKEN",
        "AIRFLOW_CTX_DAG_OWNER",
        "AIRFLOW_CONFIG",
        "AIRFLOW_HOME",
        "_AIRFLOW_WWW_USER_PASSWORD",
        "_AIRFLOW__STARTUP_MSG",
        "__AIRFLOW_SUPERVISOR_FD",
    ],
)
def test_airflows_own_variables_are_dropped(name: str) -> None:
    variables = {"PATH": "/bin", name: "x"}
    assert build_child_environment(variables) == {"PATH": "/bin"}
    assert name in variables


def test_what_only_sounds_like_airflow_stays() -> None:
    variables = {"MY_AIRFLOW_": "x", "AIRFLOWS": "y", "CAF_SUBJOB": "z"}
    assert build_child_environment(variables) == variables


def test_what_is_given_for_the_child_wins() -> None:
    given = {"PATH": "/opt/bin", "AIRFLOW_HOME": "/of/the/user"}
    assert build_child_environment({"PATH": "/bin", "AIRFLOW_HOME": "/secret"}, given) == given
