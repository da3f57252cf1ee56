"""What several tests of this room use."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_caf.io.local_database import LocalDatabase
from tests.unit.io.databases import WIDE, write_source


@pytest.fixture
def database(tmp_path: Path) -> LocalDatabase:
    """A database with one payload, 'Old', valid always."""
    made = LocalDatabase(tmp_path / "run" / "outputdb")
    made.commit([("Old", write_source(tmp_path, "old"), WIDE)])
    return made
