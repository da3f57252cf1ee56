"""Try one calibration on a few events: `try request.json`. What it collects and makes is printed, and nothing is kept.

Collectors, merge and algorithms run as they do in jobs, but one after the other in this process. Of what the author's
code raises, only the author's own lines are shown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pdb
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.algorithm_requests import ExecuteRequest, OpenRequest
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.payloads import build_payload_file_name
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.worker.algorithm.serve import AlgorithmService
from airflow_provider_caf.worker.collect import collect
from airflow_provider_caf.worker.collect.contents import inspect_file
from airflow_provider_caf.worker.collect.merge import MergeRequest, merge_collection
from airflow_provider_caf.worker.requests import read_request
from airflow_provider_caf.worker.root import open_root_file
from airflow_provider_caf.worker.user_errors import describe_for_author, find_author_traceback

_SHOWN_OBJECTS = 40
_SHOWN_RUNS = 3
_SHOWN_LETTERS = 2000


def main(argv: Sequence[str]) -> int:
    """Try what a request says, and return the exit code. The request's folder is removed."""
    parser = argparse.ArgumentParser(prog="try", description="Try a calibration on a few events.")
    parser.add_argument("request", help="path of the request, a JSON file")
    path = Path(parser.parse_args(argv).request).absolute()
    request = read_request(str(path), "request")
    before = Path.cwd()
    try:
        return _try(request, path.parent)
    finally:
        os.chdir(before)
        shutil.rmtree(path.parent, ignore_errors=True)


def _try(request: Mapping[str, Any], folder: Path) -> int:
    try:
        indexes = [_collect(job, folder) for job in request["collections"]]
        if None in indexes:
            return 1
        for algorithm in request["algorithms"]:
            _calibrate(algorithm, [str(index) for index in indexes], folder)
    except (Exception, SystemExit) as error:  # the author's code may raise anything: it is shown
        if isinstance(error, CafError) and not request["pdb"]:
            raise
        sys.stdout.flush()
        sys.stderr.write(describe_for_author(error, request["sources"]))
        sys.stderr.flush()
        found = find_author_traceback(error, request["sources"]) if request["pdb"] else None
        if found is not None:
            pdb.post_mortem(_cut(found))
        return 1
    return 0


def _cut(found: Any) -> Any:
    """Return a traceback whose innermost frame is the author's: a debugger begins there."""
    return type(found)(None, found.tb_frame, found.tb_lasti, found.tb_lineno)


def _collect(job: Mapping[str, Any], folder: Path) -> Path | None:
    """Run the job of a collection and merge what it leaves, and return the index; None: it has failed and said so."""
    name = job["collection"]
    own: Path = folder / "collections" / name
    own.mkdir(parents=True)
    os.chdir(own)
    (own / "job.json").write_text(json.dumps(job), encoding="utf-8")
    print(f"── collection {name}, from {', '.join(map(os.path.basename, job['input_files'])) or 'no file'}")
    if collect.main(["job.json"]):
        return None
    output = own / collect.OUTPUT_FILE
    if not output.exists():
        left = sorted(path.name for path in own.iterdir() if path.name != "job.json")
        print(
            f"It has left {', '.join(left) or 'nothing'}: no {collect.OUTPUT_FILE}, which algorithms here would read."
        )
        return None
    _show_collected(output)
    index: Path = own / "index.json"
    merged = str(own / "merged.root")
    merge_collection(MergeRequest(collection=name, inputs=(str(output),), output=merged, index=str(index), processes=1))
    return index


def _show_collected(output: Path) -> None:
    """Print how many events of which run there are, and what was filled."""
    contents, _ = inspect_file(str(output), "collector output")
    file = open_root_file(str(output), "collector output")
    try:
        for prefix, content in contents.items():
            runs = ", ".join(f"{count} of run {run}" for run, count in sorted(content.events.items()))
            print(f"{prefix}: events: {runs or 'none'}")
            for name, places in list(content.objects.items())[:_SHOWN_OBJECTS]:
                shown = [_describe_object(file.Get(place), run) for run, place in sorted(places.items())[:_SHOWN_RUNS]]
                more = len(places) - len(shown)
                print(f"  {name}: {'; '.join(shown)}{f'; {more} more runs' if more else ''}")
    finally:
        file.Close()


def _describe_object(item: Any, run: ExpRun) -> str:
    with contextlib.suppress(AttributeError, TypeError):
        return f"{item.ClassName()} with {item.GetEntries():g} entries for {run}"
    return f"{item.ClassName()} for {run}"


def _calibrate(words: Mapping[str, Any], indexes: Sequence[str], folder: Path) -> None:
    """Execute an algorithm once, and print what it gives."""
    own = folder / "algorithms" / words["name"]
    staging = own / "staging"
    staging.mkdir(parents=True)
    os.chdir(own)
    service = AlgorithmService()
    request = OpenRequest.from_json({**words["open"], "indexes": list(indexes), "output_folder": str(own)})
    opened = service.open(request.to_json())
    runs = tuple(map(ExpRun.from_json, opened["runs"]))
    if not runs:
        raise CafError(f"Nothing was collected for the algorithm {words['name']!r}.", hint="Try more events.")
    if not words["all_runs"]:
        runs = runs[:1]
    iov = IoV.spanning(runs)
    print(f"── algorithm {words['name']}, IoV {iov}")
    answer = service.execute(ExecuteRequest(key=0, runs=runs, iov=iov, staging=str(staging)).to_json())
    service.close({})
    print(f"result: {ResultCode(answer['code']).name}")
    for number, value, error in answer["monitored"]:
        print(f"  monitored {number}: {value:g}{'' if error is None else f' ± {error:g}'}")
    if answer["output"]:
        print(f"  output {_cut_text(json.dumps(answer['output']))}")
    for payload in answer["payloads"]:
        file = staging / build_payload_file_name(payload["name"], payload["revision"])
        print(f"  payload {payload['name']}, {payload['size']} bytes: {_describe_payload(payload, file)}")


def _describe_payload(payload: Mapping[str, Any], file: Path) -> str:
    if payload.get("value") is not None:
        return _cut_text(json.dumps(payload["value"]))
    opened = open_root_file(str(file), "payload")
    try:
        return ", ".join(f"{key.GetName()} ({key.GetClassName()})" for key in opened.GetListOfKeys())
    finally:
        opened.Close()


def _cut_text(text: str) -> str:
    return text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]} …"
