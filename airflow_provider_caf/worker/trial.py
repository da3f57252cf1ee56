"""Try a calibration on a few events, in this process: the verb `try`.

::

    {"version": 1, "title": <text>, "search_paths": [<folder>, …], "iteration": 0,
     "collections": [{"job": <job.json>, "job_files": {<name>: <path>}, "empty_index": null or <index>}, …],
     "algorithms": [<request to open an algorithm, without what it has collected>, …]}

Each step is the one of a job: `collect`, `merge`, and the service of an algorithm. What they leave goes with the
temporary folder; what they hold is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pdb
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.chain import LOCAL, DatabaseEntry
from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.core.file_names import DATABASE_FILE
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.payloads import PayloadEntry, build_database
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import Monitored
from airflow_provider_caf.worker.algorithm.serve import AlgorithmService
from airflow_provider_caf.worker.collect import collect, merge
from airflow_provider_caf.worker.collect.collected import FileReader
from airflow_provider_caf.worker.collect.collector import Collector, has_written, make_collector
from airflow_provider_caf.worker.collect.metadata import read_tree
from airflow_provider_caf.worker.programs import enter_folder
from airflow_provider_caf.worker.requests import Job, read_request
from airflow_provider_caf.worker.tracebacks import (
    find_own_frames,
    format_error,
    has_own_frames,
    list_places,
    stop_at_errors,
)


def main(argv: Sequence[str]) -> int:
    """Try what a request says and return the exit code."""
    parser = argparse.ArgumentParser(prog="try", description="Try a calibration on a few events.")
    parser.add_argument("request", help="path of the request, a JSON file")
    parser.add_argument("--pdb", action="store_true", help="stop where it breaks")
    arguments = parser.parse_args(argv)
    return run_trial(read_request(arguments.request, "request"), use_pdb=arguments.pdb)


def run_trial(request: Mapping[str, Any], *, use_pdb: bool) -> int:
    """Try what a request says; 0 if all of it went well, 1 if something broke or an algorithm failed.

    :param use_pdb: whether Python's debugger begins where it breaks, in the user's own code.
    """
    sys.path[:0] = [folder for folder in request["search_paths"] if folder not in sys.path]
    with tempfile.TemporaryDirectory(prefix="caf-try-") as folder:
        stopped: list[BaseException] = []

        def stop(error: BaseException) -> None:
            stopped.append(error)
            _show_error(error)
            pdb.post_mortem(find_own_frames(error))

        try:
            with stop_at_errors(stop) if use_pdb else contextlib.nullcontext():
                return 0 if Trial(request, Path(folder)).run() else 1
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything; it is shown
            if not use_pdb:
                _show_error(error)
            elif not stopped:
                # Before or after the events: nothing of it is closed by now that it would need.
                stop(error)
            return 1


def _show_error(error: BaseException) -> None:
    """Print what went wrong: with the user's lines, where it went through some."""
    if isinstance(error, CafError) and not has_own_frames(error):
        text = "\n".join([str(error), *list_places(error)]) + "\n"
    else:
        text = format_error(error)
    sys.stdout.flush()
    sys.stderr.write(text)
    sys.stderr.flush()


class Trial:
    """Carry out one trial.

    :param folder: for all that is written; it is there.
    """

    def __init__(self, request: Mapping[str, Any], folder: Path) -> None:
        self._request = request
        self._folder = folder
        self._indexes: list[str] = []
        self._outputs: dict[str, list[str]] = {}
        self._entries: list[PayloadEntry] = []

    def run(self) -> bool:
        """Collect, merge and execute.

        :returns: whether no algorithm has failed.
        :raises Exception: what the user's code raises.
        """
        _show(self._request["title"])
        for collection in self._request["collections"]:
            self._collect(collection)
        for number, words in enumerate(self._request["algorithms"]):
            code = self._execute(number, words)
            if not code.is_success:
                # As in a run: the next algorithms may need its payloads.
                return code is not ResultCode.FAILURE
        return True

    def _collect(self, words: Mapping[str, Any]) -> None:
        job = Job.from_json(words["job"])
        folder = self._folder / f"collection_{len(self._indexes)}"
        folder.mkdir()
        _show(f"\ncollection {job.collection}")
        _show_headers(job)
        for name, path in words["job_files"].items():
            shutil.copyfile(path, folder / name)
        request = folder / "job.json"
        request.write_text(json.dumps(words["job"]), "utf-8")
        with enter_folder(folder):
            code = collect.main([str(request)])
        if code:
            raise InputError(f"The command of collection {job.collection!r} ended with exit code {code}.")
        # The lists of the job's patterns are those of `job.json`, which no job reads as a record.
        patterns = words["job"]["output_patterns"]
        self._outputs[job.collection] = sorted({str(path) for pattern in patterns for path in folder.glob(pattern)})
        self._indexes.append(self._merge(job, folder, words["empty_index"]))

    def _merge(self, job: Job, folder: Path, empty_index: Any) -> str:
        """Merge what was collected, print it, and return the path of the index."""
        index = folder / "merged.json"
        if empty_index is not None:
            index.write_text(json.dumps(empty_index), "utf-8")
            return str(index)
        request = {
            "version": 1,
            "collection": job.collection,
            "inputs": [str(folder / collect.OUTPUT_FILE)],
            "output": str(folder / "merged.root"),
            "index": str(index),
            "granularity": job.granularity,
        }
        merge.merge_collection(merge.MergeRequest.from_json(request))
        reader = FileReader(request["output"])  # type: ignore[arg-type]
        with contextlib.closing(reader):
            for prefix, part in json.loads(index.read_text("utf-8"))["prefixes"].items():
                for exp, run, events in part["runs"]:
                    _show(f"  run {exp}.{run}: {events} events")
                for name, places in part["objects"].items():
                    for run, place in places.items():
                        _show(f"  {prefix}/{name}, run {run}: {describe_object(reader.read(place))}")
        return str(index)

    def _execute(self, number: int, words: Mapping[str, Any]) -> ResultCode:
        """Execute an algorithm over all that was collected, and print what it has made."""
        words, staging = dict(words), self._folder / f"algorithm_{number}"
        staging.mkdir()
        service, name = AlgorithmService(), words.pop("name")
        chain = [entry.to_job_json() for entry in self._list_databases()] + list(words.pop("database_chain"))
        more = {"indexes": self._indexes, "output_files": self._outputs, "output_folder": str(staging)}
        runs = service.open({**words, **more, "database_chain": chain})["runs"]
        iov = IoV.spanning(map(ExpRun.from_json, runs))
        _show(f"\nalgorithm {name}, IoV {iov}")
        try:
            answer = service.execute({"key": 0, "runs": runs, "iov": iov.to_json(), "staging": str(staging)})
        finally:
            service.close({})
        code = ResultCode(answer["code"])
        _show(f"  result: {code.name}")
        if not answer["payloads"]:
            _show("  no payload")
        for payload in answer["payloads"]:
            own = IoV.from_json(payload["iov"]) if payload.get("iov") is not None else iov
            value = payload.get("value")
            shown = f"an object of {payload['size']} bytes" if value is None else json.dumps(value)
            _show(f"  payload {payload['name']}, IoV {own}: {shown}")
            self._commit(
                staging / payload["file"], PayloadEntry(name=payload["name"], revision=payload["revision"], iov=own)
            )
        for monitored in map(Monitored.from_json, answer["monitored"]):
            value = "missing" if monitored.value is None else monitored.value
            error = "" if monitored.error is None else f" +- {monitored.error:g}"
            _show(f"  monitored {monitored.name}: {value}{error}")
        for figure in answer["figures"]:
            _show(f"  figure {figure['name']}")
        return code

    def _list_databases(self) -> list[DatabaseEntry]:
        return [DatabaseEntry(kind=LOCAL, value=str(self._folder / "database"))] if self._entries else []

    def _commit(self, file: Path, entry: PayloadEntry) -> None:
        """Let the next algorithms read a payload."""
        database = self._folder / "database"
        database.mkdir(exist_ok=True)
        shutil.copyfile(file, database / entry.file_name)
        self._entries.append(entry)
        (database / DATABASE_FILE).write_text(build_database(self._entries), "utf-8")


def _show_headers(job: Job) -> None:
    """Print which runs and how many events are in the files of a collector."""
    if job.collector is None:
        return
    collector = make_collector(job.collector, job.settings, job.granularity)
    if has_written(collector, "run_over") or type(collector).exp_run is not Collector.exp_run:
        return
    names = {word: getattr(collector, word) for word in ("tree", "exp_branch", "run_branch")}
    for file in job.input_files:
        low, high, events = read_tree(file, names)
        runs = f"run {low}" if low == high else f"runs {low} to {high}"
        _show(f"  {file}: {events} events, {runs}; at most {job.most_events} are tried")


def describe_object(item: Any) -> str:
    """Say what was filled: the class, how many entries, and where they are."""
    text = str(item.ClassName())
    if hasattr(item, "GetEntries"):
        text += f", {item.GetEntries():.15g} entries"
    elif hasattr(item, "GetN"):
        text += f", {item.GetN()} points"
    if hasattr(item, "GetMean") and hasattr(item, "GetStdDev") and hasattr(item, "GetNbinsX"):
        text += f", mean {item.GetMean():.6g}, standard deviation {item.GetStdDev():.6g}"
        if item.GetDimension() == 1:
            text += f", {item.GetBinContent(0):.15g} below and {item.GetBinContent(item.GetNbinsX() + 1):.15g} above"
    return text


def _show(text: str) -> None:
    """Print a text before what C++ prints next."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
