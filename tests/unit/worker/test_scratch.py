"""An element on a machine that sees none of the project's folders."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.worker.scratch import count_restarts, enter_scratch, move_job

HOME = "/no/such/home of 'it'"
ARRAY: dict[str, Any] = {
    "version": 1,
    "name": "caf_x",
    "folder": f"{HOME}/out/arrays/0",
    "input_folder": f"{HOME}/in",
    "output_folder": f"{HOME}/out",
    "status_folder": f"{HOME}/out/status",
    "elements": [[0], [3]],
    "attempt": 2,
    "app": f"{HOME}/app.pyz",
    "python": sys.executable,
    "resources": {},
}


def write_job(scratch: Path, subjob: int, **changes: Any) -> bytes:
    job = {
        "version": 1,
        "subjob": subjob,
        "command": ["sh", "-c", 'pwd > where; cp "$CAF_JOB" job.json', "x", "{input_files}"],
        "settings": {},
        "arguments": {},
        "input_files": [f"{HOME}/a.root", "/not/travelled.root", "root://far/a.root"],
        "database_chain": [{"kind": "local", "path": f"{HOME}/db"}, {"kind": "global_tag", "name": "main"}],
        "output_patterns": ["where"],
        "pre_collector": None,
        **changes,
    }
    file = Path(f"{scratch}{HOME}/in/{subjob:05d}.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(job))
    return file.read_bytes()


def test_an_element_in_its_scratch_folder(tmp_path: Path) -> None:
    (tmp_path / "array.json").write_text(json.dumps(ARRAY))
    text = write_job(tmp_path, 3)
    Path(f"{tmp_path}{HOME}/a.root").touch()
    Path(f"{tmp_path}{HOME}/db").mkdir()
    log = Path(f"{tmp_path}{HOME}/out/arrays/0/element_1.log")
    log.parent.mkdir(parents=True)
    log.touch()
    ad = tmp_path / ".job.ad"
    ad.write_text("NumJobStarts = 0\nNumShadowStarts = 2\n")
    words = ["subjob", "--array", "array.json", "--element", "1", "--scratch", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "airflow_provider_caf.worker", *words],
        cwd=tmp_path,
        env={**os.environ, "_CONDOR_JOB_AD": str(ad), "PYTHONPATH": str(Path(__file__).parents[3])},
        check=False,
    )
    assert done.returncode == 0
    record = json.loads(Path(f"{tmp_path}{HOME}/out/status/00003.2_r1.json").read_text())
    # Where it will be, and the job file as it was sent.
    assert record["folder"] == f"{HOME}/out/00003/attempt_2_r1"
    assert record["job_digest"] == hashlib.sha256(text).hexdigest()
    folder = Path(f"{tmp_path}{HOME}/out/00003/attempt_2_r1")
    assert (folder / "where").read_text() == f"{folder}\n"
    assert json.loads((folder / "job.json").read_text())["input_files"] == [
        f"{tmp_path}{HOME}/a.root",
        "/not/travelled.root",
        "root://far/a.root",
    ]
    assert not log.exists()
    assert not Path(HOME).exists()


def test_a_local_database_is_moved_and_a_tag_is_not(tmp_path: Path) -> None:
    write_job(tmp_path, 0)
    Path(f"{tmp_path}{HOME}/db").mkdir()
    file = f"{tmp_path}{HOME}/in/00000.json"
    moved = move_job(json.loads(Path(file).read_text()), file, str(tmp_path))
    assert moved["database_chain"] == [
        {"kind": "local", "path": f"{tmp_path}{HOME}/db"},
        {"kind": "global_tag", "name": "main"},
    ]
    assert json.loads(Path(file).read_text()) == moved


def test_all_paths_of_the_array_are_moved() -> None:
    moved = enter_scratch(ARRAY, "/scratch")
    assert {name for name in ARRAY if moved[name] != ARRAY[name]} == {
        *("folder", "input_folder", "output_folder", "status_folder", "app")
    }
    assert moved["output_folder"] == f"/scratch{HOME}/out"
    assert moved["scratch"] == "/scratch"


@pytest.mark.parametrize(
    ("text", "restarts"),
    [
        ("NumShadowStarts = 1\n", 0),
        ("A = 1\nNumShadowStarts=4\nB = 2\n", 3),
        ("NumShadowStarts = 0\n", 0),
        ("LastNumShadowStarts = 7\n", 0),
        (None, 0),
    ],
)
def test_restarts_are_counted_by_the_jobs_own_record(
    text: str | None, restarts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("_CONDOR_JOB_AD", raising=False)
    if text is not None:
        (tmp_path / "ad").write_text(text)
        monkeypatch.setenv("_CONDOR_JOB_AD", str(tmp_path / "ad"))
    assert count_restarts() == restarts
