"""Measure a real batch system, whose commands are on PATH: arrays against single submits, the wait, packing.

    python benchmarks/bench_batch.py htcondor|slurm [--subjobs 1000] [--singles 100] [--folder /shared/…]

Everything goes the way of the submit and wait tasks: intent and id records, scripts, exit records. Three things are
measured with subjobs that run `true`:

- the time to submit them as an array, against one submit command for each (`--singles` of them, scaled);
- how many submit and status commands a whole run needs, and how long after the last subjob's end the waiter knows it;
- the time until all are done, plain against packed: 50 in an element, and as many as `subjobs_per_job="auto"` takes.

Times of a run are from its submission to the last exit record, so they do not depend on how often the waiter looks.
Where the folder is not shared with the machines that run the jobs, give one that is.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from airflow_provider_caf.batch.packing import RunTimes
from airflow_provider_caf.batch.polling import decide_interval
from airflow_provider_caf.batch.spec import Command, CommandResult, TextFile, merge_resources
from airflow_provider_caf.jobs import (
    BatchClient,
    JobFolders,
    LocalTransport,
    Resources,
    SubjobRun,
    SubjobSet,
    build_job,
    load_system,
    write_job_app,
)
from airflow_provider_caf.jobs.rounds import measure_records

LIMIT = 3600.0
"""Seconds after which a run is given up."""


class CountingTransport:
    """Run commands here and count them by program."""

    def __init__(self) -> None:
        self._local = LocalTransport()
        self.host = self._local.host
        self.counts: dict[str, int] = {}

    def run(self, command: Command, *, hold: int | None = None) -> CommandResult:
        """Run a command."""
        program = Path(command.argv[0]).name
        self.counts[program] = self.counts.get(program, 0) + 1
        return self._local.run(command, hold=hold)

    def write_file(self, file: TextFile) -> None:
        """Write a file."""
        self._local.write_file(file)


class Bench:
    """A folder for many collections on one batch system."""

    def __init__(self, system: str, folder: Path) -> None:
        self.transport = CountingTransport()
        self.client = BatchClient(load_system(system), self.transport)
        self.folder = folder
        self.app = write_job_app(folder / "app.pyz")

    def prepare(self, name: str, subjobs: int, resources: Resources) -> SubjobRun:
        """Write the job files of some subjobs."""
        folders = JobFolders(input_folder=self.folder / name / "jobs", output_folder=self.folder / name / "output")
        run = SubjobRun(
            SubjobSet(
                labels=("bench", name),
                folders=folders,
                subjobs=tuple(range(subjobs)),
                app=self.app,
                resources=merge_resources(Resources(python="python3"), resources),
            ),
            self.client,
        )
        run.write_job_files(build_job(subjob, ["true"]) for subjob in range(subjobs))
        return run

    def time_submit(self, run: SubjobRun) -> float:
        """Return the seconds that a submission takes."""
        begin = time.perf_counter()
        run.submit_missing()
        return time.perf_counter() - begin

    def end(self, run: SubjobRun) -> None:
        """Cancel what is left, and wait for it."""
        run.cancel()
        self.wait(run)

    def wait(self, run: SubjobRun) -> None:
        """Look as the sensor does until nothing goes on."""
        began = time.monotonic()
        while not (observation := run.observe(check_outputs=False, read_logs=False)).is_over:
            waited = time.monotonic() - began
            if waited > LIMIT:
                raise SystemExit(f"after {LIMIT:g} s not all are over: {observation.describe()}")
            time.sleep(decide_interval(waited, run.patience))

    def run(self, name: str, subjobs: int, resources: Resources, seen: RunTimes | None = None) -> Run:
        """Run some subjobs from the submission to the end."""
        run = self.prepare(name, subjobs, resources)
        self.transport.counts.clear()
        begin = time.time()
        arrays = run.submit_missing(find_seconds=lambda: None if seen is None else seen.mean).arrays
        submits = dict(self.transport.counts)
        self.transport.counts.clear()
        self.wait(run)
        known = time.time()
        observation = run.observe()
        if len(observation.done) != subjobs:
            raise SystemExit(f"not all ended well: {observation.describe()}; see {run.folders.output_folder}")
        records = run.read_attempts()
        last = max(record.ended.timestamp() for record in records)
        return Run(
            seconds=last - begin,
            delay=known - last,
            elements=sum(len(array.array.elements) for array in arrays),
            submits=submits,
            queries=dict(self.transport.counts),
            times=measure_records(records),
        )


@dataclass(frozen=True)
class Run:
    """What a run took."""

    seconds: float
    delay: float
    elements: int
    submits: dict[str, int]
    queries: dict[str, int]
    times: RunTimes | None


def compare_submits(bench: Bench, subjobs: int, singles: int, resources: Resources) -> None:
    """Time an array against single submits, by turns, so that a busy machine is as bad for both."""
    jobs = [bench.prepare(f"single{number}", 1, resources) for number in range(singles)]
    half = len(jobs) // 2
    seconds = [bench.time_submit(job) for job in jobs[:half]]
    array = bench.prepare("array", subjobs, resources)
    together = bench.time_submit(array)
    seconds += [bench.time_submit(job) for job in jobs[half:]]
    scaled = sum(seconds) / len(seconds) * subjobs
    print(
        f"submit {subjobs} subjobs: as an array {together:.2f} s; one by one {scaled:.1f} s "
        f"({len(seconds)} took {sum(seconds):.1f} s, scaled): {scaled / together:.0f} times faster",
        flush=True,
    )
    for job in (array, *jobs):
        bench.end(job)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", help="htcondor, slurm, …")
    parser.add_argument("--subjobs", type=int, default=1000)
    parser.add_argument("--singles", type=int, default=100)
    parser.add_argument("--array-limit", type=int, help="the most elements that the site takes in one array")
    parser.add_argument("--folder", type=Path, help="where to work; it must be seen by the jobs")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    resources = Resources(array_limit=arguments.array_limit)
    with tempfile.TemporaryDirectory(dir=arguments.folder, ignore_cleanup_errors=True) as name:
        bench = Bench(arguments.system, Path(name))
        compare_submits(bench, arguments.subjobs, arguments.singles, resources)
        plain = bench.run("plain", arguments.subjobs, resources)
        print(
            f"plain: all done after {plain.seconds:.1f} s; submit commands {plain.submits}, status commands "
            f"{plain.queries}; the waiter knew it {plain.delay:.1f} s after the last end",
            flush=True,
        )
        for asked in (50, "auto"):
            packed = bench.run(
                f"packed_{asked}", arguments.subjobs, replace(resources, subjobs_per_job=asked), plain.times
            )
            print(
                f"subjobs_per_job={asked}: {packed.elements} elements, all done after {packed.seconds:.1f} s, "
                f"{plain.seconds / packed.seconds:.1f} times faster than plain; known {packed.delay:.1f} s later",
                flush=True,
            )


if __name__ == "__main__":
    main()
