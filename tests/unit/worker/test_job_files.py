"""Files that travel with a job inside the job app."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.worker.collect.collect import write_job_files
from airflow_provider_caf.worker.job.subjob import build_argv

SHOW = [
    sys.executable,
    "-c",
    "import os, pathlib; print(pathlib.Path('steering.py').read_text(), os.environ['CAF_APP'].endswith('app.pyz'))",
]


def write_job(folder: Path, **words: Any) -> Path:
    job = {"version": 1, "command": SHOW, "collection": "physics", "job_files": ["steering.py"], **words}
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    return path


def collect(app: Path, job: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    argv = [sys.executable, str(app), "collect", str(job)]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)


def test_they_lie_in_the_work_folder_when_the_command_starts(tmp_path: Path) -> None:
    (tmp_path / "source.py").write_text("steer")
    files = {"physics/steering.py": tmp_path / "source.py"}
    build_job_app(tmp_path / "app.pyz", (), files=files)
    ended = collect(tmp_path / "app.pyz", write_job(tmp_path), tmp_path / "work")
    assert (ended.returncode, ended.stdout) == (0, "steer True\n")


def test_each_collection_has_its_own(tmp_path: Path) -> None:
    for name in ("physics", "cosmics"):
        (tmp_path / name).write_text(name)
    files = {f"{name}/steering.py": tmp_path / name for name in ("physics", "cosmics")}
    build_job_app(tmp_path / "app.pyz", (), files=files)
    ended = collect(tmp_path / "app.pyz", write_job(tmp_path, collection="cosmics"), tmp_path / "work")
    assert ended.stdout == "cosmics True\n"


def test_a_file_that_is_not_in_the_app_is_an_error(tmp_path: Path) -> None:
    build_job_app(tmp_path / "app.pyz", ())
    ended = collect(tmp_path / "app.pyz", write_job(tmp_path), tmp_path / "work")
    assert ended.returncode == 1
    assert "has no file 'steering.py' of collection 'physics'" in ended.stderr


def test_a_file_that_is_not_there_cannot_be_packed(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"job file 'steering.py' of collection 'physics' cannot be read"):
        build_job_app(tmp_path / "app.pyz", (), files={"physics/steering.py": tmp_path / "none"})


def test_a_changed_file_makes_another_app(tmp_path: Path) -> None:
    digests = set()
    for text in ("a", "b"):
        (tmp_path / "file").write_text(text)
        digests.add(build_job_app(tmp_path / "app.pyz", (), files={"physics/file": tmp_path / "file"}))
    assert len(digests) == 2


def test_the_job_app_starts_a_command_that_needs_them() -> None:
    job = {"command": ["basf2", "steering.py"], "job_files": ["steering.py"], "settings": {}}
    assert build_argv(job, "/job.json", "/app.pyz") == [sys.executable, "/app.pyz", "collect", "/job.json"]
    assert build_argv({**job, "job_files": []}, "/job.json", "/app.pyz") == ["basf2", "steering.py"]


def test_outside_of_an_app_there_are_none() -> None:
    with pytest.raises(InputError, match="lie in the job app"):
        write_job_files(["steering.py"], "physics")
