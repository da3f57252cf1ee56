"""Measure what waiting costs a triggerer: 10 000 subjobs that run, in 10 collections with a sensor each.

The triggers run as in a triggerer: in one event loop of a process that does nothing else. The batch system is a command
that answers at once, so that what is measured is ours: reading exit records, judging, polling. Half of the subjobs have
ended before. Three processes run, one after the other: with no trigger, with one subjob, and with all of them. At the
end the last subjobs end, and the time to the events is taken. Run it as

    python benchmarks/bench_triggerer.py [--sensors 10] [--subjobs 1000] [--interval 5] [--looks 6] [--folder /tmp]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.spec import ArraySpec, Resources, SubmittedArray
from airflow_provider_caf.batch.systems.local import LocalSystem
from airflow_provider_caf.core.splitting import SubjobPlan
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.io.layout import CalibrationLayout, CollectionLayout
from airflow_provider_caf.steps import collect
from airflow_provider_caf.steps.manifest import CollectionManifest

COMMAND = """#!{python} -IS
import json, pathlib, sys
here = pathlib.Path(__file__).parent
with open(here / "commands", "a") as commands:
    commands.write("x")
letter = (here / "letter").read_text()
for each in json.load(sys.stdin):
    print(json.dumps({{"states": letter * {subjobs}, "host": "node"}}))
"""


def find_layout(folder: Path, name: str) -> CollectionLayout:
    """Return the paths of one of the collections."""
    return CalibrationLayout(run_folder=folder / "dag" / "run", name="bench").iteration(0).collection(name)


def submit(layout: CollectionLayout, subjobs: int) -> None:
    """Leave what the tasks before the sensor leave, with half of the subjobs done."""
    for folder in (layout.jobs.input_folder, layout.jobs.status_folder, layout.jobs.array_folder(0)):
        folder.mkdir(parents=True)
    CollectionManifest(
        calibration="bench",
        collection=Collection(["true"], max_subjob_retries=3, max_failed_subjobs=0).rename(layout.name),
        prefix="",
        granularity="run",
        subjobs=tuple(SubjobPlan(index=index, files=(), arguments={}) for index in range(subjobs)),
        database_chain=(),
        backend="local",
        resources=Resources(),
    ).write(layout.manifest)
    for subjob in range(subjobs):
        layout.jobs.job_file(subjob).write_text(json.dumps({"subjob": subjob}))
    array = ArraySpec(
        name=f"caf_{layout.name}",
        folder=str(layout.jobs.array_folder(0)),
        input_folder=str(layout.jobs.input_folder),
        output_folder=str(layout.jobs.output_folder),
        status_folder=str(layout.jobs.status_folder),
        elements=tuple((subjob,) for subjob in range(subjobs)),
        attempt=0,
        app="/not/used.pyz",
        python="python3",
    )
    Path(array.array_file).write_text(json.dumps(array.to_json()))
    submitted = SubmittedArray(array=array, ids=("1",), submitted="2026-01-01T00:00:00Z")
    (layout.jobs.array_folder(0) / "submitted.json").write_text(json.dumps(submitted.to_json()))
    for subjob in range(subjobs // 2):
        end_subjob(layout, subjob)


def end_subjob(layout: CollectionLayout, subjob: int) -> None:
    """Leave the exit record of a subjob that has ended well."""
    record = {
        "version": 1,
        "subjob": subjob,
        "attempt": 0,
        "job_digest": hashlib.sha256(layout.jobs.job_file(subjob).read_bytes()).hexdigest(),
        "exit_code": 0,
        "signal": None,
        "host": "node",
        "started": "2026-01-01T00:00:00.000Z",
        "ended": "2026-01-01T00:01:00.000Z",
        "cpu_seconds": 60.0,
        "peak_memory_kb": 100000,
        "outputs": [],
        "reason": None,
    }
    (layout.jobs.status_folder / f"{subjob:05d}.0.json").write_text(json.dumps(record))


async def watch(folder: Path, names: list[str], subjobs: int, interval: float, looks: int) -> dict[str, float]:
    """Run the triggers for some intervals, let everything end, and give what it took."""
    from airflow_provider_caf.triggers.batch import BatchJobTrigger

    async def wait(name: str) -> float:
        words: dict[str, Any] = {"shortest_interval": interval, "longest_interval": interval, "deadline": 4e9}
        async for _ in BatchJobTrigger(str(folder / "dag/run/bench"), "dag", "run", 0, name, **words).run():
            pass
        return time.monotonic()

    tasks = [asyncio.create_task(wait(name)) for name in names]
    await asyncio.sleep(interval)
    before, begin = count_cpu(), time.monotonic()
    await asyncio.sleep(interval * looks)
    result = {"cpu": count_cpu() - before, "wall": time.monotonic() - begin, "peak": read_peak()}
    for name in names:
        for subjob in range(subjobs // 2, subjobs):
            end_subjob(find_layout(folder, name), subjob)
    (folder / "letter").write_text("E")
    ended = time.monotonic()
    result["delay"] = max([await task - ended for task in tasks], default=0.0)
    return result


def count_cpu() -> float:
    """Return the CPU seconds of this process; not those of the commands."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def read_peak() -> float:
    """Return the largest resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_child(options: argparse.Namespace) -> None:
    """Be the process that is measured."""
    folder = Path(options.child)
    # All runs of this process get a system whose only command is ours.
    collect.load_system = lambda name: LocalSystem((str(folder / "pool"),))  # type: ignore[attr-defined]
    names = [f"c{number}" for number in range(options.sensors)]
    print(json.dumps(asyncio.run(watch(folder, names, options.subjobs, options.interval, options.looks))))


def measure(folder: Path, sensors: int, subjobs: int, options: argparse.Namespace) -> dict[str, float]:
    """Run the triggers of some sensors in a process of their own."""
    folder.mkdir()
    (folder / "letter").write_text("R")
    command = folder / "pool"
    command.write_text(COMMAND.format(python=sys.executable, subjobs=subjobs))
    command.chmod(0o755)
    for number in range(sensors):
        submit(find_layout(folder, f"c{number}"), subjobs)
    argv = [sys.executable, __file__, "--child", str(folder), "--sensors", str(sensors), "--subjobs", str(subjobs)]
    argv += ["--interval", str(options.interval), "--looks", str(options.looks)]
    printed = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(printed.splitlines()[-1])
    commands = folder / "commands"
    result["commands"] = len(commands.read_text()) if commands.exists() else 0
    return result


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sensors", type=int, default=10)
    parser.add_argument("--subjobs", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two queries")
    parser.add_argument("--looks", type=int, default=6, help="so many intervals")
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(options)
        return
    base = Path(tempfile.mkdtemp(prefix="caf-bench-", dir=options.folder))
    try:
        idle = measure(base / "idle", 0, 0, options)
        one = measure(base / "one", 1, 1, options)
        full = measure(base / "full", options.sensors, options.subjobs, options)
    finally:
        shutil.rmtree(base)
    total = options.sensors * options.subjobs
    looks, wall = options.looks, full["wall"]
    print(f"{total} subjobs of {options.sensors} sensors, a query every {options.interval:g} s, {wall:.0f} s:")
    print(
        f"  CPU of the triggerer {full['cpu']:.2f} s, {full['cpu'] / looks * 1000:.0f} ms a look, "
        f"{full['cpu'] / wall:.1%} of one core (one subjob: {one['cpu'] / looks * 1000:.0f} ms a look); "
        f"with the longest interval of 60 s {full['cpu'] / looks / 60:.2%}"
    )
    print(
        f"  peak memory {full['peak']:.0f} MB, {full['peak'] - idle['peak']:.0f} MB over an idle one of "
        f"{idle['peak']:.0f} MB ({(full['peak'] - idle['peak']) / total * 1024:.2f} kB a subjob)"
    )
    print(
        f"  status commands {full['commands']:.0f} (with one subjob {one['commands']:.0f}); "
        f"last subjob's end to the last event {full['delay']:.2f} s, with one subjob {one['delay']:.2f} s, "
        f"interval {options.interval:g} s"
    )


if __name__ == "__main__":
    main()
