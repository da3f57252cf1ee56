from __future__ import annotations

from airflow_provider_caf.core.environment import drop_secrets


def test_only_airflows_own_variables_are_dropped() -> None:
    variables = {"PATH": "/bin", "AIRFLOW__CORE__FERNET_KEY": "x", "_AIRFLOW_X": "y", "MY_AIRFLOW_": "z"}
    assert drop_secrets(variables) == {"PATH": "/bin", "MY_AIRFLOW_": "z"}
    assert "AIRFLOW__CORE__FERNET_KEY" in variables
