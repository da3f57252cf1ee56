"""The state file of the reference."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from airflow_provider_caf.worker.basf2.dropin.caf.database import CAFDB, SQLiteDB


def test_it_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "caf_state.db"
    with CAFDB(path) as database:
        database.insert_calibration("Mean")
        database.insert_calibration("Other", state="completed", checkpoint="completed", iteration=2)
        database.update_calibration_value("Mean", "state", "running_collector")
    with CAFDB(path, True) as database:
        assert database.get_calibration_value("Mean", "state") == "running_collector"
        assert database.get_calibration_value("Other", "iteration") == 2
        assert database.query("select * from calibrations").fetchall()[0] == ("Mean", "running_collector", "init", 0)
        lines = database.output_calibration_table().splitlines()
        assert "Calibrations Table" in lines[1]
        assert lines[4].split() == ["Mean", "running_collector", "init", "0"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            database.update_calibration_value("Mean", "state", "init")
        with pytest.raises(ValueError, match="no column 'x; drop'"):
            database.get_calibration_value("Mean", "x; drop")
        with pytest.raises(ValueError, match="no calibration 'None'"):
            database.get_calibration_value("None", "state")
    with pytest.raises(ValueError, match="is closed"):
        database.query("select 1")


def test_what_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="to be read only"):
        CAFDB(tmp_path / "none.db", read_only=True)
    with pytest.raises(ValueError, match="no schema"):
        SQLiteDB(tmp_path / "none.db")
    with pytest.raises(TypeError, match=r"a pathlib\.Path, not a str"):
        SQLiteDB(str(tmp_path))  # type: ignore[arg-type]
    assert not (tmp_path / "none.db").exists()
