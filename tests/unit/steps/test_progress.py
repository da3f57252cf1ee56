"""Lines about how far something is."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from airflow_provider_caf.steps.progress import Progress, following
from tests.waiting import wait_until


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_line_has_rate_and_time_left(clock: Clock) -> None:
    progress = Progress("Looking", 5000, "files", clock=clock)
    clock.now += 10.0
    progress.add(1000)
    assert progress.describe() == "Looking: 1000 of 5000 files, 100 files/s, 40 s left"


def test_nothing_done_promises_nothing(clock: Clock) -> None:
    clock.now += 10.0
    assert Progress("Looking", 5, "files", clock=clock).describe() == "Looking: 0 of 5 files, 0 files/s"


def test_lines_come_now_and_then(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress("Looking", 100, "files", clock=clock)
    with caplog.at_level(logging.INFO):
        for _ in range(40):
            clock.now += 1.0
            progress.add(1)
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        f"Looking: {done} of 100 files" for done in (10, 20, 30, 40)
    ]


def test_a_file_of_another_process_is_followed(clock: Clock, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    file = tmp_path / "progress"
    progress = Progress("Merging", 64, "files", clock=clock)
    with caplog.at_level(logging.INFO), following(file, progress, interval=0.01):
        clock.now += 20.0
        file.write_text("16")
        wait_until(lambda: caplog.records)
    assert "Merging: 16 of 64 files" in caplog.text
    assert not file.exists()


def test_what_is_no_number_is_told_and_harms_nothing(
    clock: Clock, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    file = tmp_path / "progress"
    file.write_text("soon")
    with following(file, Progress("Merging", 64, "files", clock=clock), interval=0.01):
        wait_until(lambda: caplog.records)
    assert "cannot be read" in caplog.text
