"""Measure what the local pool costs over the bare commands: 1000 subjobs that copy 4 kB, against `xargs -P`.

Both run in the same process, by turns, in fresh folders. The pool makes two folders, two logs and an exit
record for each subjob, and starts itself; `xargs` makes none of that. Making them costs what the file
system takes for five new inodes (10 microseconds or 2 milliseconds, it was seen), so this is measured too.
Run it as

    python benchmarks/bench_local_pool.py [--subjobs 1000] [--processes 2] [--rounds 3] [--folder /tmp …]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from airflow_provider_caf.batch.spec import ArraySpec, Resources

SIZE = 4096
FLOCK = shutil.which("flock") or "/usr/bin/flock"


def build_pool_input(folder: Path, subjobs: int, processes: int) -> ArraySpec:
    """Write the job files and the array's record."""
    source = folder / "source"
    source.write_bytes(os.urandom(SIZE))
    inputs, array_folder = folder / "input", folder / "array"
    inputs.mkdir()
    array_folder.mkdir()
    for subjob in range(subjobs):
        job = {
            "version": 1,
            "calibration": "bench",
            "collection": "default",
            "iteration": 0,
            "subjob": subjob,
            "command": ["cp", str(source), "out.dat"],
            "output_patterns": ["out.dat"],
            "pre_collector": None,
        }
        (inputs / f"{subjob:05d}.json").write_text(json.dumps(job))
    array = ArraySpec(
        name="caf_bench",
        folder=str(array_folder),
        input_folder=str(inputs),
        output_folder=str(folder / "output"),
        status_folder=str(folder / "output" / "status"),
        elements=tuple((subjob,) for subjob in range(subjobs)),
        attempt=0,
        app="/not/used.pyz",
        python=sys.executable,
        resources=Resources(max_processes=processes),
    )
    Path(array.array_file).write_text(json.dumps(array.to_json()))
    return array


def time_pool(folder: Path, subjobs: int, processes: int) -> float:
    """Return the wall seconds from the submit command to the last exit record."""
    array = build_pool_input(folder, subjobs, processes)
    argv = [sys.executable, "-m", "airflow_provider_caf.worker", "pool", "submit", array.array_file]
    begin = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    # The lock is free when the pool has ended.
    subprocess.run([FLOCK, f"{array.folder}/pool/lock", "true"], check=True)
    seconds = time.perf_counter() - begin
    records = list(Path(array.status_folder).glob("*.json"))
    if len(records) != subjobs or any(json.loads(each.read_text())["reason"] for each in records):
        raise SystemExit(f"not all of {subjobs} subjobs have ended well, see {array.folder}")
    return seconds


def time_xargs(folder: Path, subjobs: int, processes: int) -> float:
    """Return the wall seconds of the same copies by `xargs`."""
    source = folder / "source"
    source.write_bytes(os.urandom(SIZE))
    numbers = "".join(f"{number}\n" for number in range(subjobs))
    argv = ["xargs", f"-P{processes}", "-I{}", "cp", str(source), str(folder / "out{}.dat")]
    begin = time.perf_counter()
    subprocess.run(argv, check=True, input=numbers, text=True)
    seconds = time.perf_counter() - begin
    if sum(1 for _ in folder.glob("out*.dat")) != subjobs:
        raise SystemExit("xargs has not made all copies")
    return seconds


def time_files(folder: Path, subjobs: int, _processes: int) -> float:
    """Return the wall seconds for making the folders and files of the pool alone."""
    status = folder / "status"
    status.mkdir()
    begin = time.perf_counter()
    for number in range(subjobs):
        attempt = folder / f"{number:05d}" / "attempt_0"
        attempt.parent.mkdir()
        attempt.mkdir()
        for path in (attempt / "stdout.log", attempt / "stderr.log", status / f"{number:05d}.0.json"):
            path.touch()
    return time.perf_counter() - begin


def compare(where: str, subjobs: int, processes: int, rounds: int) -> None:
    """Print the medians of both, their ratio, and the cost of a subjob over the bare command."""
    measures = {"pool": time_pool, "xargs": time_xargs, "files": time_files}
    times: dict[str, list[float]] = {name: [] for name in measures}
    base = Path(tempfile.mkdtemp(prefix="caf-bench-", dir=where))
    try:
        for number in range(rounds):
            for name, measure in measures.items():
                # Removed at the very end only: ext4 is slow to make files right after others were removed.
                folder = base / f"{name}{number}"
                folder.mkdir()
                times[name].append(measure(folder, subjobs, processes))
    finally:
        shutil.rmtree(base)
    pool, xargs, files = (statistics.median(times[name]) for name in measures)
    print(
        f"{where}: {subjobs} subjobs, {processes} at a time: pool {pool:.2f} s, xargs {xargs:.2f} s, "
        f"ratio {pool / xargs:.2f}, {(pool - xargs) / subjobs * 1000:.2f} ms per subjob over xargs"
        f"; its folders and files alone {files / subjobs * 1000:.2f} ms"
    )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--subjobs", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", action="append", help="where to work; the temporary folder by default")
    options = parser.parse_args()
    for folder in options.folder or [tempfile.gettempdir()]:
        compare(folder, options.subjobs, options.processes, options.rounds)


if __name__ == "__main__":
    main()
