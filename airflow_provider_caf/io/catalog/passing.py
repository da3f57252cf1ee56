"""Errors of a database that pass by themselves: locks, broken connections, tables that another process has made."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

_SQLITE_BUSY, _SQLITE_LOCKED = 5, 6
_POSTGRES_PASSING = {"40001", "40P01", "55P03", "57P03"}
"""serialization_failure, deadlock_detected, lock_not_available, cannot_connect_now."""
_POSTGRES_EXISTS = {"42P07", "42710"}
"""duplicate_table, duplicate_object."""
_MYSQL_PASSING = {1205, 1213}
"""Lock wait timeout, deadlock."""
_MYSQL_EXISTS = {1050, 1061}
"""Table or index exists."""


def is_passing(error: DBAPIError) -> bool:
    """Return whether an error of a database is a lock or a broken connection, which passes."""
    origin = error.orig
    if error.connection_invalidated:
        return True
    sqlite_code = getattr(origin, "sqlite_errorcode", None)
    if sqlite_code is not None:
        # The low byte: the others only say more about the kind of lock.
        return sqlite_code & 0xFF in (_SQLITE_BUSY, _SQLITE_LOCKED)
    return _get_sql_state(origin) in _POSTGRES_PASSING or _get_mysql_code(origin) in _MYSQL_PASSING


def is_there(error: DBAPIError) -> bool:
    return _get_sql_state(error.orig) in _POSTGRES_EXISTS or _get_mysql_code(error.orig) in _MYSQL_EXISTS


def _get_sql_state(origin: object) -> object:
    # psycopg says sqlstate, psycopg2 and asyncpg's adapter pgcode.
    return getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)


def _get_mysql_code(origin: BaseException | None) -> object:
    code = origin.args[0] if origin is not None and origin.args else None
    return code if isinstance(code, int) else None
