"""Whatever a visitor asks the CAF page for is answered, on SQLite and on PostgreSQL, and never by an error of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from airflow_provider_caf.core.environment import build_child_environment

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("fuzz_routes.py")
PROJECT = PROGRAM.parents[3]


@pytest.fixture
def postgresql() -> Iterator[str]:
    """Start a PostgreSQL of one's own, and give its address. It listens on a socket in a folder, on no port."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    control = str(found[-1]) if found else shutil.which("pg_ctl")
    if control is None:
        pytest.skip("PostgreSQL is not here")
    pytest.importorskip("psycopg2")
    # It refuses to run as root, and the folders of the tests are root's alone.
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="caf-pg-"))
    if user:
        shutil.chown(folder, "postgres")

    def run(*words: str) -> None:
        subprocess.run(
            [*user, control, "-D", str(folder / "data"), *words], check=True, capture_output=True, cwd=folder
        )

    run("initdb", "-o", "--auth=trust --username=caf --no-sync")
    run("start", "-w", "-l", str(folder / "log"), "-o", f"-c listen_addresses= -k {folder} -c fsync=off")
    try:
        yield f"postgresql+psycopg2://caf@/postgres?host={folder}"
    finally:
        run("stop", "-m", "immediate")
        shutil.rmtree(folder)


def fuzz(home: Path, settings: Mapping[str, str]) -> dict[str, int]:
    """Run the program, and give how many answers had which status."""
    own = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROGRAM)],
        env=build_child_environment(os.environ, {**own, **settings}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_on_sqlite(tmp_path: Path) -> None:
    found = fuzz(tmp_path, {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db"})
    assert set(found) == {"200", "403", "404", "422"}


def test_on_postgresql(tmp_path: Path, postgresql: str) -> None:
    found = fuzz(tmp_path, {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgresql})
    assert set(found) == {"200", "403", "404", "422"}
