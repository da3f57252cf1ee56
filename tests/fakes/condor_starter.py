"""Carry the files of one process of a faked HTCondor to a scratch folder, run it there, and bring back what it made.

Called with the order of the cluster and the number of the process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Run one process."""
    order = json.loads(Path(sys.argv[1]).read_text())
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    scratch = Path(tempfile.mkdtemp(prefix="dir_", dir=Path(sys.argv[1]).parent))
    home = Path(order["folder"])
    for name in order["inputs"][int(sys.argv[2])]:
        carry(home / name, scratch / (name if is_kept(order, name) else Path(name).name))
    executable = scratch / Path(order["executable"]).name
    carry(Path(order["executable"]), executable)
    starts = os.environ["FAKE_BATCH_ELEMENT"].rpartition(".")[2]
    (scratch / ".job.ad").write_text(f"NumJobStarts = 0\nNumShadowStarts = {starts}\n")
    done = subprocess.run(
        [executable, sys.argv[2]],
        cwd=scratch,
        env={**os.environ, "_CONDOR_JOB_AD": str(scratch / ".job.ad"), "_CONDOR_SCRATCH_DIR": str(scratch)},
        check=False,
    )
    if not stopped:
        for name in order["outputs"]:
            carry(scratch / name, home / (name if is_kept(order, name) else Path(name).name))
    shutil.rmtree(scratch)
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def is_kept(order: dict[str, object], name: str) -> bool:
    """Tell whether a file keeps its path: a relative one, where that was asked for."""
    return bool(order["keeps_paths"]) and not name.startswith("/")


def carry(source: Path, target: Path) -> None:
    """Copy a file or a folder. The real one writes in place, too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


sys.exit(main())
