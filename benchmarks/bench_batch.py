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
import json
import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from airflow_provider_caf.batch.packing import RunTimes
from airflow_provider_caf.batch.polling import Patience, decide_interval
from airflow_provider_caf.batch.spec import Command, CommandResult, Resources, TextFile
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.subjobs import count_subjobs
from airflow_provider_caf.jobs.submission import CollectionJob, measure_records, observe, submit_missing
from airflow_provider_caf.jobs.transport.local import LocalTransport

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
        self.client = BatchClient(load_system(system), self.transport, patience=Patience())
        self.folder = folder
        self.app = folder / "app.pyz"
        build_job_app(self.app, ())

    def prepare(self, name: str, subjobs: int, resources: Resources) -> CollectionJob:
        """Write the job files of a collection."""
        layout = RunLayout(work_dir=self.folder, dag_id="bench", run_id="run").calibration("bench").iteration(0)
        place = layout.collection(name)
        for each in (place.input_folder, place.status_folder, place.arrays_folder):
            each.mkdir(parents=True)
        job = {"version": 1, "command": ["true"], "output_patterns": [], "pre_collector": None}
        for subjob in range(subjobs):
            place.job_file(subjob).write_text(json.dumps({**job, "subjob": subjob}))
        return CollectionJob(
            dag="bench",
            run="run",
            calibration="bench",
            iteration=0,
            collection=name,
            layout=place,
            subjobs=tuple(range(subjobs)),
            app=self.app,
            python="python3",
            resources=resources,
        )

    def time_submit(self, job: CollectionJob) -> float:
        """Give the seconds that a submission takes."""
        begin = time.perf_counter()
        submit_missing(self.client, job)
        return time.perf_counter() - begin

    def end(self, job: CollectionJob) -> None:
        """Cancel what is left of a collection, and wait for it."""
        self.client.cancel(observe(self.client, job, check_outputs=False).arrays)
        self.wait(job)

    def wait(self, job: CollectionJob) -> None:
        """Look as the sensor does until nothing goes on."""
        status = self.client.open_status_folder(job.layout.status_folder)
        began = time.monotonic()
        while True:
            observed = observe(self.client, job, status=status, check_outputs=False, read_logs=False)
            if all(verdict.status.is_over for verdict in observed.verdicts.values()):
                return
            waited = time.monotonic() - began
            if waited > LIMIT:
                raise SystemExit(f"after {LIMIT:g} s not all are over: {count_subjobs(observed.verdicts)}")
            time.sleep(decide_interval(waited, self.client.patience))

    def run(self, name: str, subjobs: int, resources: Resources, seen: RunTimes | None = None) -> Run:
        """Run a collection from the submission to the end."""
        job = self.prepare(name, subjobs, resources)
        self.transport.counts.clear()
        begin = time.time()
        arrays = submit_missing(self.client, job, find_times=lambda: seen).arrays
        submits = dict(self.transport.counts)
        self.transport.counts.clear()
        self.wait(job)
        known = time.time()
        observed = observe(self.client, job, check_outputs=True)
        if count_subjobs(observed.verdicts) != {SubjobStatus.DONE: subjobs}:
            raise SystemExit(f"not all ended well: {count_subjobs(observed.verdicts)}; see {job.layout.output_folder}")
        records = self.client.open_status_folder(job.layout.status_folder).scan()
        last = max(record.ended.timestamp() for record in records)
        return Run(
            seconds=last - begin,
            delay=known - last,
            elements=sum(len(array.array.elements) for array in arrays),
            submits=submits,
            queries=dict(self.transport.counts),
            times=measure_records(records),
        )


class Run:
    """What a run took."""

    def __init__(
        self,
        *,
        seconds: float,
        delay: float,
        elements: int,
        submits: dict[str, int],
        queries: dict[str, int],
        times: RunTimes | None,
    ) -> None:
        self.seconds = seconds
        self.delay = delay
        self.elements = elements
        self.submits = submits
        self.queries = queries
        self.times = times


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
