"""The upload into the conditions database, by a tool that takes the words of basf2's `conditions_db/cli_upload.py`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import DatabaseError, JobFailed
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.definitions.caf import Publish, Upload
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.ending import Publication
from airflow_provider_caf.steps.upload import Access, check_upload

TOKEN = "header.secret-text.signature"

TOOL = """#!/bin/sh
python3 - "$@" <<'P'
import json, os, sys
path = os.environ["BELLE2_CDB_AUTH_TOKEN"]
said = {
    "words": sys.argv[1:],
    "home": os.environ["HOME"],
    "same": path == os.path.join(os.environ["HOME"], "b2cdb_" + os.environ["BELLE2_USER"] + ".token"),
    "token": open(path).read(),
    "modes": [oct(os.stat(name).st_mode & 0o777) for name in (path, os.environ["HOME"])],
    "command": open("/proc/%d/cmdline" % os.getppid()).read(),
}
json.dump(said, open(os.environ["SAID"], "w"))
P
echo "uploading"
exit "${TOOL_CODE:-0}"
"""


@pytest.fixture
def run(tmp_path: Path) -> RunLayout:
    """A run with two payloads that follow each other."""
    layout = RunLayout(work_dir=tmp_path / "work", dag_id="demo", run_id="run")
    fill(layout, (1, 0, 1, 4), (1, 5, 1, -1))
    return layout


def fill(layout: RunLayout, *iovs: tuple[int, ...]) -> LocalDatabase:
    database = LocalDatabase(layout.database)
    database.create()
    files = []
    for number, iov in enumerate(iovs):
        path = layout.database.parent / f"{number}.root"
        path.write_bytes(b"root" + bytes([number]))
        files.append(("Spot", path, IoV(*iov)))
    database.commit(files)
    return database


def make_access(tmp_path: Path, code: int = 0) -> Access:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "b2conditionsdb").write_text(TOOL)
    (folder / "b2conditionsdb").chmod(0o755)
    setup = (f"export PATH='{folder}':$PATH", f"export SAID='{tmp_path}/said.json'", f"export TOOL_CODE={code}")
    return Access(user="anna", token=TOKEN, resources=Resources(setup=setup))


def order(**words: Any) -> Publish:
    return Publish(upload=Upload(global_tag="user_anna_spot", connection="conditions", **words))


def test_the_tool_gets_the_database_and_finds_its_token_in_a_file(run: RunLayout, tmp_path: Path) -> None:
    access = make_access(tmp_path)
    before = set(Path(tempfile.gettempdir()).glob("caf_upload_*"))
    assert Publication(run, order(), access).run() == ("uploaded into user_anna_spot, 2 lines", False)
    said = json.loads((tmp_path / "said.json").read_text("utf-8"))
    assert said["words"] == ["upload", "user_anna_spot", str(run.database / "database.txt")]
    assert (said["token"], said["same"], said["modes"]) == (TOKEN, True, ["0o600", "0o700"])
    assert not Path(said["home"]).exists()
    assert set(Path(tempfile.gettempdir()).glob("caf_upload_*")) <= before
    # Nowhere else, and not a second time.
    kept = [path.read_bytes() for path in run.folder.rglob("*") if path.is_file()]
    assert not [text for text in [*kept, said["command"].encode(), repr(access).encode()] if TOKEN.encode() in text]
    assert Publication(run, order(), access).run() == ("uploaded into user_anna_spot, 2 lines", True)


def test_an_upload_that_failed_is_begun_again(run: RunLayout, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"failed with exit code 3[\s\S]*uploading"):
        Publication(run, order(), make_access(tmp_path, code=3)).run()
    access = Access(user="anna", token=TOKEN, resources=Resources(setup=("b2conditionsdb() { :; }; exit 0",)))
    assert Publication(run, order(), access).run()[1] is False


def test_a_dry_run_starts_nothing_and_is_no_upload(run: RunLayout, tmp_path: Path) -> None:
    access = make_access(tmp_path)
    said = "checked for user_anna_spot, 2 lines; a dry run uploads nothing"
    for _ in range(2):
        assert Publication(run, order(dry_run=True), access).run() == (said, False)
    assert not (tmp_path / "said.json").exists()
    assert Publication(run, order(), access).run()[1] is False
    assert (tmp_path / "said.json").exists()


def test_lines_whose_order_decides_are_refused(tmp_path: Path) -> None:
    layout = RunLayout(work_dir=tmp_path / "work", dag_id="demo", run_id="overlap")
    database = fill(layout, (0, 0, -1, -1), (1, 5, 1, 7))
    with pytest.raises(DatabaseError, match=r"1 pairs of payloads[\s\S]*Spot: 0,0,-1,-1 and 1,5,1,7"):
        check_upload(database)


def test_a_damaged_payload_is_refused(run: RunLayout) -> None:
    (path, _) = sorted(run.database.glob("*.root"))
    path.write_bytes(b"rooted")
    with pytest.raises(DatabaseError, match="damaged"):
        check_upload(LocalDatabase(run.database))
