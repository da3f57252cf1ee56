"""A pool that is looked at from another host, where its lock says nothing and no signal reaches it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_caf.core.file_names import ENDED_BY_POOL
from airflow_provider_caf.worker.job import pool, pool_files
from airflow_provider_caf.worker.job.pool_files import PoolFiles
from tests.unit.worker.test_pool import make_array, wait_for_end, write_identity
from tests.waiting import is_running, wait_until

pytestmark = pytest.mark.slow

Ask = Callable[..., Any]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Ask one thing about pools on a host whose kernel, and so whose locks, are others'."""

    def ask(action: str, *requests: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(pool_files, "read_boot", lambda: "another machine")
            patch.setattr(PoolFiles, "take_lock", lambda *_: pytest.fail("a lock says nothing here"))
            patch.setattr(os, "kill", lambda *_: pytest.fail("a signal does not get there"))
            # The clocks of two hosts differ: none may be looked at.
            patch.setattr(pool_files, "time", SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep))
            patch.setattr("sys.stdin", io.StringIO(json.dumps(requests)))
            assert pool.main([action]) == 0
        answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return answers[0] if len(answers) == 1 else answers

    return ask


SUBMIT = """
import sys
from airflow_provider_caf.core.file_names import ENDED_BY_POOL
from airflow_provider_caf.worker.job import pool, pool_files
pool_files.BEAT = 0.05
sys.exit(pool.submit(sys.argv[1]))
"""


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Start a pool here, whose heart beats fast, and give what names it."""

    def start(scripts: dict[int, str], **resources: Any) -> dict[str, Any]:
        path = make_array(tmp_path, [[number] for number in scripts], scripts, **resources)
        done = subprocess.run([sys.executable, "-c", SUBMIT, str(path)], check=True, capture_output=True)
        return {"folder": str(tmp_path / "array"), "id": json.loads(done.stdout)["id"]}

    return start


def test_it_is_seen_until_it_has_ended(start: Any, ask: Ask, tmp_path: Path) -> None:
    go_on = tmp_path / "go_on"
    asked = start({0: f"while ! test -e {go_on}; do sleep 0.05; done", 1: "exit 3"}, max_processes=2)
    wait_until(lambda: ask("query", asked)["states"] == "RE")
    assert ask("query", asked)["alive"]
    assert ask("lookup", {**asked, "name": "caf_x"}) == {"id": asked["id"]}
    go_on.touch()
    wait_until(lambda: ask("query", asked)["states"] == "EE")
    # It is over, and beats no more: that says nothing.
    wait_for_end(PoolFiles(asked["folder"]))
    os.utime(PoolFiles(asked["folder"]).beat_file, (0, 0))
    assert ask("query", asked) == {**ask("query", asked), "alive": False, "states": "EE"}
    assert not Path(PoolFiles(asked["folder"]).given_up_file).exists()


def test_it_obeys_a_request(start: Any, ask: Ask) -> None:
    asked = start({0: "sleep 600", 1: "sleep 600", 2: "sleep 600"}, max_processes=2)
    assert ask("cancel", {**asked, "elements": [0, 2]}) == {"id": asked["id"], "alive": True}
    wait_until(lambda: ask("query", asked)["states"] == "CRC")
    for damaged in (b"[1", b"\xff\n", b"{}\n", b"7\n", b'["a", null, [], 900]\n', b"[" * 100_000):
        with Path(PoolFiles(asked["folder"]).cancel_file).open("ab") as file:
            file.write(damaged)
    ask("cancel", {**asked, "elements": None})
    wait_until(lambda: ask("query", asked)["states"] == "CCC")


def test_one_that_is_given_up_and_wakes_ends_everything(start: Any, ask: Ask, tmp_path: Path) -> None:
    """Its subjobs run again elsewhere, so none may begin or go on here."""
    asked = start({0: "echo $$ > ../../../pid; exec sleep 600", 1: "touch ../../../began"}, max_processes=1)
    files = PoolFiles(asked["folder"])
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    identity = files.read_identity()
    assert identity is not None
    os.kill(identity["pid"], signal.SIGSTOP)
    os.utime(files.beat_file, (0, 0))
    assert ask("query", asked)["states"] == "RQ"
    os.utime(files.doubt_file, (1, 1))
    assert ask("query", asked)["states"] == "LL"
    # Its own host, which sees that it is there, says the same.
    assert pool._query(asked)["states"] == "LL"
    assert ask("query", asked) == {"id": asked["id"], "alive": False, "host": identity["host"], "states": "LL"}
    reason = files.read_given_up()
    assert reason is not None
    assert reason == f"the local pool was given up by host {os.uname().nodename}: it had been silent for too long"
    os.kill(identity["pid"], signal.SIGCONT)
    wait_for_end(files)
    record = json.loads((tmp_path / "out" / "status" / "00000.0.json").read_text())
    assert reason in json.dumps(record)
    assert record["ended_by"] == ENDED_BY_POOL
    assert not is_running(int((tmp_path / "pid").read_text()))
    assert not (tmp_path / "began").exists()


def test_while_the_file_server_was_away_nobody_could_say_anything(ask: Ask, tmp_path: Path) -> None:
    """The first who asks when it is back sees an old beat. The pool gets as long again to be heard of."""
    files = PoolFiles(str(tmp_path))
    asked = {"folder": str(tmp_path), "id": write_identity(files)["id"]}
    hour = 3600.0

    def set_ages(beat: float, doubt: float) -> None:
        now = time.time()
        os.utime(files.beat_file, (now - beat, now - beat))
        os.utime(files.doubt_file, (now - doubt, now - doubt))

    os.utime(files.beat_file, (0, 0))
    assert ask("query", asked)["states"] == "QQQQ"
    set_ages(beat=hour, doubt=200)
    assert ask("query", asked)["alive"]
    # It was heard of again, for a while: that doubt is no more.
    set_ages(beat=400, doubt=hour)
    assert ask("query", asked)["alive"]
    assert time.time() - Path(files.doubt_file).stat().st_mtime < hour / 2
    set_ages(beat=100, doubt=hour)
    assert ask("query", asked)["alive"]
    assert files.read_given_up() is None
    set_ages(beat=hour, doubt=400)
    assert ask("query", asked)["states"] == "LLLL"
    assert "silent for too long" in (files.read_given_up() or "")


def test_one_whose_beat_was_removed_is_lost(ask: Ask, tmp_path: Path) -> None:
    files = PoolFiles(str(tmp_path))
    asked = {"folder": str(tmp_path), "id": write_identity(files)["id"]}
    Path(files.beat_file).unlink()
    assert ask("query", asked)["alive"]
    os.utime(files.doubt_file, (1, 1))
    assert ask("query", asked)["states"] == "LLLL"


def test_one_that_is_told_to_end_says_so(start: Any, ask: Ask) -> None:
    """What had not begun is lost at once, and not when nothing was heard of it for long."""
    asked = start({0: "sleep 600", 1: "sleep 600"}, max_processes=1)
    wait_until(lambda: ask("query", asked)["states"] == "RQ")
    files = PoolFiles(asked["folder"])
    identity = files.read_identity()
    assert identity is not None
    os.kill(identity["pid"], signal.SIGTERM)
    wait_for_end(files)
    assert ask("query", asked)["states"] == "EL"
    assert files.read_given_up() == "the local pool was ended by SIGTERM"


def test_a_beat_that_cannot_be_told_ends_nothing(start: Any, ask: Ask, tmp_path: Path) -> None:
    asked = start({0: f"while ! test -e {tmp_path}/go_on; do sleep 0.05; done"}, max_processes=1)
    files = PoolFiles(asked["folder"])
    Path(files.beat_file).unlink()
    Path(files.beat_file).mkdir()
    wait_until(lambda: "this beat could not be told to other hosts: " in Path(files.log_file).read_text())
    assert "error" in ask("query", asked)
    (tmp_path / "go_on").touch()
    wait_for_end(files)
    assert files.read_journal(1)[0] == ["E"]
