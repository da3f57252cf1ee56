"""The connection that has the token of the conditions database."""

from __future__ import annotations

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_caf.core.errors import DefinitionError


def read_token(conn_id: str) -> tuple[str, str]:
    """Return login and password of a connection of any type: the user and the token.

    :raises DefinitionError: if there is no such connection, or one of the two is not there.
    """
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise DefinitionError(
            f"There is no connection {conn_id!r}.", hint="Define it in Airflow, or correct 'connection' of the upload."
        ) from error
    user, token = (connection.login or "").strip(), (connection.password or "").strip()
    if not user or "/" in user or not token:
        raise DefinitionError(
            f"The connection {conn_id!r} has no usable login or no password.",
            hint="Its login is the user of the conditions database, its password the token.",
        )
    return user, token
