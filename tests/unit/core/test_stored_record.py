"""Records in files of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.stored_record import StoredRecord


@record
class Thing(StoredRecord):
    version = 1

    name: str


def test_it_is_read_as_it_was_written_and_only_by_this_user(tmp_path: Path) -> None:
    path = tmp_path / "new" / "thing.json"
    Thing(name="a").write(path)
    assert Thing.read_file(path, "thing 'a'") == Thing(name="a")
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_no_such_record_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "thing.json"
    with pytest.raises(InputError, match=f"The thing 'a' is missing: there is no file {path}"):
        Thing.read_file(path, "thing 'a'")
    path.write_text('{"version": 1, "name": 3}')
    with pytest.raises(DefinitionError, match="'name' of the thing 'a' is 3"):
        Thing.read_file(path, "thing 'a'")
