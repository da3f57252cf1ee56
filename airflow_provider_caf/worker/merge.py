"""Merge the collector outputs of one collection into one file, and write an index of what is where in it.

Baskets and histograms are merged without recompressing. Many inputs are merged in groups, in child processes,
and then the groups: with two cores this halves the time. How inputs are grouped depends on their number only,
never on the number of processes, so that sums of floating point numbers come out the same on every machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record
from airflow_provider_caf.worker.collected import VERSION
from airflow_provider_caf.worker.forks import run_forked
from airflow_provider_caf.worker.requests import read_request
from airflow_provider_caf.worker.root import (
    build_temporary_path,
    build_write_error,
    check_root_path,
    crash_plainly,
    find_write_errno,
    load_root,
    open_root_file,
    publish_file,
    record_errors,
    write_bytes,
)
from airflow_provider_caf.worker.run_objects import ALL_RUNS, RUN_RANGE

GROUP_SIZE = 16
"""More inputs than this are merged in groups; forking costs some 20 ms for each."""

GROUPS = 16
"""At most so many groups: what a group writes is read again for the last merge."""

_WHAT = "collector output"


@record
class MergeRequest(JsonRecord):
    """What to merge, from `merge.json`.

    :param processes: how many at the same time; None: as many as there are cores.
    :param granularity: what the collector was defined to have; None: what the files have.
    :param progress: a file for the number of inputs that are done; None: nobody asks.
    """

    noun = "merge request"
    version = 1

    collection: str
    inputs: tuple[str, ...]
    output: str
    index: str
    processes: int | None = None
    granularity: str | None = None
    progress: str | None = None


@record
class Content:
    """What was found in a file under one prefix.

    :param granularity: None where there are no objects.
    """

    granularity: str | None
    events: Mapping[ExpRun, int]
    objects: Mapping[str, Mapping[ExpRun, str]]


def main(argv: Sequence[str]) -> int:
    """Merge as `merge.json` says."""
    parser = argparse.ArgumentParser(prog="merge", description="Merge the collector outputs of a collection.")
    parser.add_argument("request", help="path of merge.json")
    arguments = parser.parse_args(argv)
    crash_plainly()
    request = MergeRequest.from_json(read_request(arguments.request, "merge request"))
    runs = merge_collection(request)
    sys.stdout.write(f"merged {len(request.inputs)} files with {runs} runs into {request.output}\n")
    return 0


def merge_collection(request: MergeRequest) -> int:
    """Merge the inputs and write the index. The index is written last: where it is, the merge is complete.

    :returns: the number of runs.
    :raises InputError: if an input is missing, truncated, no collector output, or differs in granularity; or
        if there is no run in any.
    :raises CafError: if the output cannot be written.
    """
    if not request.inputs:
        raise InputError(
            f"There is nothing to merge for collection {request.collection!r}.",
            hint="No subjob left an output. Look at the exit records of its subjobs.",
        )
    output = Path(request.output)
    check_root_path(request.output, "merged file")
    Path(request.index).unlink(missing_ok=True)
    groups = split_evenly(request.inputs, GROUP_SIZE, GROUPS)
    processes = request.processes or os.cpu_count() or 1
    temporary = build_temporary_path(output)
    try:
        with _make_folder(output.with_name(f".{output.name}.{os.getpid()}.parts")) as folder:
            if len(groups) == 1:
                counts = [merge_group(request.inputs, str(temporary), request)]
            else:
                parts = [str(folder / f"{number:05d}.root") for number in range(len(groups))]
                tasks = [_build_task(group, part, request) for group, part in zip(groups, parts)]
                counts = run_forked(tasks, processes, "a merge", note=_build_note(request, groups))
                for prefix, found in _add_counts(counts).items():
                    _check_granularity(prefix, found, request)
                merge_files(parts, str(temporary), request.output)
        content = inspect_file(str(temporary))
        _check_sums(counts, content, request)
        publish_file(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    index = build_index(request, content)
    text = json.dumps(index, sort_keys=True, separators=(",", ":")) + "\n"
    write_bytes(Path(request.index), text.encode(), "index")
    return len({run for each in content.values() for run in each.events})


def _build_note(request: MergeRequest, groups: Sequence[Sequence[str]]) -> Callable[[int], None] | None:
    """Give what is called with the number of a group that is done."""
    if request.progress is None:
        return None
    path, done = Path(request.progress), 0

    def note(number: int) -> None:
        nonlocal done
        done += len(groups[number])
        write_bytes(path, str(done).encode(), "progress")

    return note


def merge_group(inputs: Sequence[str], output: str, request: MergeRequest) -> dict[str, dict[str, Any]]:
    """Check some inputs and merge them.

    :returns: of each prefix, the number of collected `events`, and for each granularity a file that has it.
    """
    counts: dict[str, dict[str, Any]] = {}
    for path in inputs:
        for prefix, content in inspect_file(path).items():
            found = counts.setdefault(prefix, {"events": 0})
            found["events"] += sum(content.events.values())
            if content.granularity is not None:
                found.setdefault(content.granularity, path)
    for prefix, found in counts.items():
        _check_granularity(prefix, found, request)
    merge_files(inputs, output, request.output)
    return counts


def merge_files(inputs: Sequence[str], output: str, shown: str) -> None:
    """Merge ROOT files without recompressing.

    :param output: the file to write.
    :param shown: what messages call it: it is written under another name first.
    :raises CafError: if that fails.
    """
    root = load_root()
    first = open_root_file(inputs[0], _WHAT)
    compression = first.GetCompressionSettings()
    first.Close()
    merger = root.TFileMerger(False, False)
    merger.SetPrintLevel(0)
    merger.SetFastMethod(True)
    # Baskets can only be copied as they are into a file of the same compression.
    if not merger.OutputFile(output, "RECREATE", compression):
        raise build_write_error(shown, "merged file", 0)
    for path in inputs:
        if not merger.AddFile(path, False):
            raise InputError(f"The {_WHAT} {path} cannot be merged.", hint="What ROOT says is in the log above.")
    with record_errors() as messages:
        merged = merger.Merge()
    try:
        # A disk that runs full costs ROOT a line on stderr only: the file is looked at again.
        open_root_file(output, "merged file").Close()
    except InputError as error:
        raise build_write_error(shown, "merged file", find_write_errno(Path(output))) from error
    # Histograms that do not fit together are left out with an error, and success is given.
    if not merged or messages:
        said = f" ROOT says: {messages[0]}" if messages else ""
        raise CafError(
            f"Merging {len(inputs)} files into {shown} failed.{said}",
            hint="Objects of one name have to have the same type, binning and branches in all subjobs.",
        )


def inspect_file(path: str) -> dict[str, Content]:
    """Find out what a collector output holds, by prefix.

    :raises InputError: if it cannot be read or is no collector output.
    """
    file = open_root_file(path, _WHAT)
    try:
        contents = {}
        for name in sorted(_list_folders(file)):
            folder = file.GetDirectory(name)
            contents[name] = _inspect_prefix(folder, name, path)
        if not contents:
            raise InputError(
                f"The {_WHAT} {path} has no folder of a collector.",
                hint=f"It needs <prefix>/{RUN_RANGE} and <prefix>/<name>/<name>_<exp>.<run>.",
            )
        return contents
    finally:
        file.Close()
        load_root().gROOT.cd()


def build_index(request: MergeRequest, contents: Mapping[str, Content]) -> dict[str, Any]:
    """Give the index of a merged file.

    :raises InputError: if no run was collected, or the prefixes differ in granularity.
    """
    granularities = {content.granularity for content in contents.values() if content.granularity is not None}
    if len(granularities) > 1:
        raise InputError(
            f"The prefixes of collection {request.collection!r} differ in granularity.",
            hint="Give all collectors of a collection the same one.",
        )
    return {
        "version": VERSION,
        "collection": request.collection,
        "file": os.path.relpath(request.output, Path(request.index).parent),
        "granularity": granularities.pop() if granularities else request.granularity or "run",
        "prefixes": {
            prefix: {
                "runs": [[*run, content.events[run]] for run in sorted(content.events)],
                "objects": {
                    name: {str(run): place for run, place in sorted(places.items())}
                    for name, places in content.objects.items()
                },
            }
            for prefix, content in contents.items()
        },
    }


def split_evenly(items: Sequence[str], size: int, most: int) -> list[Sequence[str]]:
    """Cut a list into stretches of nearly the same length.

    :param size: no stretch is shorter than half of this, unless it is the only one.
    :param most: at most so many stretches.
    """
    count = min(-(-len(items) // size), most)
    bounds = [number * len(items) // count for number in range(count + 1)]
    return [items[first:last] for first, last in zip(bounds, bounds[1:])]


def _build_task(group: Sequence[str], part: str, request: MergeRequest) -> Any:
    return lambda: merge_group(group, part, request)


@contextmanager
def _make_folder(path: Path) -> Iterator[Path]:
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _list_folders(folder: Any) -> list[str]:
    return [str(key.GetName()) for key in folder.GetListOfKeys() if key.IsFolder() and _is_folder(key)]


def _is_folder(key: Any) -> bool:
    return str(key.GetClassName()) in ("TDirectoryFile", "TDirectory")


def _inspect_prefix(folder: Any, prefix: str, path: str) -> Content:
    key = folder.GetKey(RUN_RANGE)
    if not key or str(key.GetClassName()) != "TTree":
        raise InputError(
            f"The folder {prefix!r} in the {_WHAT} {path} has no tree {RUN_RANGE!r}.",
            hint="A collector that is not written in Python has to write it: exp/I, run/I, events/L.",
        )
    objects: dict[str, dict[ExpRun, str]] = {}
    for name in _list_folders(folder):
        places = objects[name] = {}
        for each in folder.GetDirectory(name).GetListOfKeys():
            text = str(each.GetName())
            run = _parse_run(text[len(name) + 1 :]) if text.startswith(f"{name}_") else None
            if run is not None:
                places[run] = f"{prefix}/{name}/{text}"
    kinds = {run == ALL_RUNS for places in objects.values() for run in places}
    if len(kinds) > 1:
        raise InputError(
            f"The folder {prefix!r} in {path} has objects of single runs and of all runs.",
            hint="A collector writes one or the other.",
        )
    granularity = None if not kinds else "all" if kinds.pop() else "run"
    return Content(granularity=granularity, events=_read_run_range(key, prefix, path), objects=objects)


def _read_run_range(key: Any, prefix: str, path: str) -> dict[ExpRun, int]:
    tree = key.ReadObj()
    events: dict[ExpRun, int] = {}
    try:
        for number in range(tree.GetEntries()):
            if tree.GetEntry(number) <= 0:
                raise AttributeError("entry cannot be read")
            run = ExpRun(int(tree.exp), int(tree.run))
            events[run] = events.get(run, 0) + int(tree.events)
    except AttributeError as error:
        raise InputError(
            f"The tree {prefix}/{RUN_RANGE} in the {_WHAT} {path} cannot be read: {error}.",
            hint="It needs the branches exp/I, run/I and events/L.",
        ) from error
    return events


def _parse_run(text: str) -> ExpRun | None:
    exp, dot, run = text.partition(".")
    if text == str(ALL_RUNS):
        return ALL_RUNS
    if dot and exp.isascii() and run.isascii() and exp.isdigit() and run.isdigit():
        return ExpRun(int(exp), int(run))
    return None


def _check_sums(
    counts: Sequence[Mapping[str, Mapping[str, Any]]], contents: Mapping[str, Content], request: MergeRequest
) -> None:
    """Compare what is in the merged file with what was in its inputs."""
    expected = _add_counts(counts)
    merged = {prefix: sum(content.events.values()) for prefix, content in contents.items()}
    wanted = {prefix: found["events"] for prefix, found in expected.items()}
    if merged != wanted:
        raise CafError(
            f"The merged file of collection {request.collection!r} has {merged} events, not {wanted}.",
            hint="This is a fault of the merge; what ROOT says is in the log above. Run it again.",
        )
    if not any(content.events for content in contents.values()):
        raise InputError(
            f"The {len(request.inputs)} outputs of collection {request.collection!r} hold no run at all.",
            hint="Are the input files without events, or does the collector skip all?",
        )


def _add_counts(counts: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Put together what the groups found."""
    total: dict[str, dict[str, Any]] = {}
    for each in counts:
        for prefix, found in each.items():
            so_far = total.setdefault(prefix, {"events": 0})
            so_far["events"] += found["events"]
            for granularity in set(found) - {"events"}:
                so_far.setdefault(granularity, found[granularity])
    return total


def _check_granularity(prefix: str, found: Mapping[str, Any], request: MergeRequest) -> None:
    kinds = sorted(set(found) - {"events"})
    wrong = [kind for kind in kinds if request.granularity not in (None, kind)]
    if wrong:
        raise InputError(
            f"The {_WHAT} {found[wrong[0]]} has granularity {wrong[0]!r} under {prefix!r}, "
            f"the collection has {request.granularity!r}.",
            hint="The definition changed after the subjobs ran. Run them again.",
        )
    if len(kinds) > 1:
        raise InputError(
            f"The {_WHAT} {found[kinds[0]]} has granularity {kinds[0]!r} under {prefix!r}, but "
            f"{found[kinds[1]]} has {kinds[1]!r}.",
            hint="The definition changed between the subjobs. Run them all again.",
        )
