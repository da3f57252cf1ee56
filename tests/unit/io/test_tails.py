from __future__ import annotations

from pathlib import Path

from airflow_provider_caf.core.tails import cut_tail, read_tail


def test_only_the_last_lines_are_kept() -> None:
    assert cut_tail("a\nb\nc\n", 2) == "b\nc"
    assert cut_tail("", 2) == ""


def test_only_the_end_of_a_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"first\n" * 1000 + b"\xff last\n")
    assert read_tail(log, 2) == "first\n\ufffd last"
    assert read_tail(log, 5, size=7) == "\ufffd last"


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_tail(tmp_path / "none") == ""
