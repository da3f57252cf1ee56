"""Merge the collector outputs of one collection into one file, and write an index of what is where in it.

Baskets and histograms are merged without recompressing. Many inputs are merged in groups, in child processes,
and then the groups: with two cores this halves the time. How inputs are grouped depends on their number only,
never on the number of processes, so that sums of floating point numbers come out the same on every machine.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.atomic import build_write_error, publish_file, write_bytes
from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.lock import hold_lock
from airflow_provider_caf.core.record import record
from airflow_provider_caf.worker.collect.collected import VERSION
from airflow_provider_caf.worker.collect.contents import Content, inspect_file, inspect_open_file
from airflow_provider_caf.worker.collect.merge_objects import Key, ObjectMerger, compile_merger, list_keys
from airflow_provider_caf.worker.collect.signature import FileTally
from airflow_provider_caf.worker.job.forks import run_forked
from airflow_provider_caf.worker.root import (
    build_temporary_path,
    check_root_path,
    check_written,
    crash_plainly,
    find_write_errno,
    load_root,
    open_root_file,
    record_errors,
)

GROUP_SIZE = 16
"""More inputs than this are merged in groups; forking costs some 20 ms for each."""

GROUPS = 16
"""At most so many groups: what a group writes is read again for the last merge."""

OPEN_FILES = 256
"""At most so many files in a group, and the more groups: all of them are open at the same time."""

_NOTHING_TO_ADD = "input list is empty - nothing to merge with"
"""What ROOT reports of a list of objects that is in one file only. Nothing is wrong with it."""

_WHAT = "collector output"

Counts = dict[str, dict[str, Any]]
"""Of each prefix, the number of collected `events`, and for each granularity a file that has it."""


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


def run(value: Mapping[str, Any]) -> None:
    """Merge as a request says."""
    crash_plainly()
    request = MergeRequest.from_json(value)
    output = Path(request.output)
    # A merge whose worker was killed may go on for a while, or on another host.
    with hold_lock(output.with_name(f".{output.name}.lock"), f"a merge into {output}"):
        _remove_left(output)
        runs = merge_collection(request)
    sys.stdout.write(f"merged {len(request.inputs)} files with {runs} runs into {request.output}\n")


def merge_collection(request: MergeRequest) -> int:
    """Merge the inputs and write the index. The index is written last: where it is, the merge is complete.

    :returns: the number of runs.
    :raises InputError: if an input is missing, truncated, no collector output, or differs in granularity; if an
        object does not fit that of another input, or its sum is not what was put in; or if there is no run in any.
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
    temporary = build_temporary_path(output)
    try:
        with _make_folder(build_temporary_path(output)) as folder:
            counts, tally = _merge_groups(folder, str(temporary), request)
        content, keys = inspect_file(str(temporary), "merged file")
        cycles = {place: key.cycles for place, key in keys.items()}
        tally.check(cycles, {place for part in content.values() for place in part.list_places()})
        _check_sums(counts, content, request)
        publish_file(temporary, output, "merged file")
    finally:
        temporary.unlink(missing_ok=True)
    index = build_index(request, content)
    text = json.dumps(index, sort_keys=True, separators=(",", ":")) + "\n"
    write_bytes(Path(request.index), text.encode(), "index")
    return len({run for part in content.values() for run in part.events})


def _build_note(request: MergeRequest, groups: Sequence[Sequence[str]]) -> Callable[[int], None] | None:
    """Return what is called with the number of a group that is done."""
    if request.progress is None:
        return None
    path, done = Path(request.progress), 0

    def note(number: int) -> None:
        nonlocal done
        done += len(groups[number])
        write_bytes(path, str(done).encode(), "progress")

    return note


def merge_group(inputs: Sequence[str], output: str, request: MergeRequest) -> tuple[Counts, FileTally]:
    """Check some inputs and merge them.

    :returns: what was counted, and the tally of all objects.
    """
    counts: Counts = {}

    def inspect(file: Any, path: str) -> Mapping[str, Key]:
        contents, keys = inspect_open_file(file, path, _WHAT)
        for prefix, content in contents.items():
            found = counts.setdefault(prefix, {"events": 0})
            found["events"] += sum(content.events.values())
            if content.granularity is not None:
                found.setdefault(content.granularity, path)
        _check_granularity(counts, request)
        return keys

    tally = FileTally()
    merge_files(inputs, output, request.output, ObjectMerger(tally), inspect)
    return counts, tally


def _merge_groups(folder: Path, output: str, request: MergeRequest) -> tuple[Counts, FileTally]:
    """Merge groups of inputs, each in a process, and then what they gave.

    :returns: what `merge_group` gives, of all.
    """
    groups = split_evenly(request.inputs, GROUP_SIZE, max(GROUPS, -(-len(request.inputs) // OPEN_FILES)))
    if len(groups) == 1:
        return merge_group(request.inputs, output, request)
    compile_merger()
    parts = [str(folder / f"{number:05d}.root") for number in range(len(groups))]
    tasks = [_build_task(group, part, request) for group, part in zip(groups, parts)]
    processes = request.processes or os.cpu_count() or 1
    answers = run_forked(tasks, processes, "a merge", note=_build_note(request, groups))
    counts, tally = _add_counts([answer["counts"] for answer in answers]), FileTally()
    _check_granularity(counts, request)
    for answer in answers:
        tally.add_json(answer["keys"])
    merge_files(parts, output, request.output, ObjectMerger(tally, counted=True))
    return counts, tally


def merge_files(
    inputs: Sequence[str],
    output: str,
    shown: str,
    merger: ObjectMerger,
    inspect: Callable[[Any, str], Mapping[str, Key]] = lambda file, path: list_keys(file),
) -> None:
    """Merge ROOT files without recompressing.

    :param output: the file to write.
    :param shown: what messages call it: it is written under another name first.
    :param inspect: gets each open file with its path, and gives what is in it.
    :raises InputError: if an input cannot be read, an object does not fit that of another input, or its sum is not what
        was put in.
    :raises CafError: if the output cannot be written, or ROOT reports an error.
    """
    files: list[Any] = []
    try:
        for path in inputs:
            files.append(open_root_file(path, _WHAT))
            merger.add_file(files[-1], path, inspect(files[-1], path))
        compressions = [file.GetCompressionSettings() for file in files]
        files.append(_create(output, shown, compressions[0]))
        with record_errors(warnings=lambda: not merger.tally.is_known) as warnings:
            # Baskets can only be copied as they are into a file of the same compression.
            merger.write(files[-1], fast=len(set(compressions)) == 1)
            files[-1].Close()
    finally:
        for file in files:
            file.Close()
        load_root().gROOT.cd()
    # What went wrong first is told: a sum has lost content because the disk is full, or because ROOT left it out.
    check_written(files[-1], Path(output), shown, "merged file")
    if messages := [text for text in warnings if not text.endswith(_NOTHING_TO_ADD)]:
        raise CafError(
            f"Merging {len(inputs)} files into {shown} failed. ROOT says: {messages[0]}",
            hint="Objects of one name have to have the same type, binning and branches in all subjobs.",
        )
    merger.check()


def _create(output: str, shown: str, compression: int) -> Any:
    try:
        return load_root().TFile.Open(output, "RECREATE", "", compression)
    except OSError as error:
        raise build_write_error(shown, "merged file", find_write_errno(Path(output))) from error


def build_index(request: MergeRequest, contents: Mapping[str, Content]) -> dict[str, Any]:
    """Return the index of a merged file.

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
    def task() -> dict[str, Any]:
        counts, tally = merge_group(group, part, request)
        return {"counts": counts, "keys": tally.to_json()}

    return task


def _remove_left(output: Path) -> None:
    """Remove what a merge that was killed has left. Nobody else merges into this file now."""
    for path in output.parent.glob(f".{glob.escape(output.name)}.*.tmp"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _make_folder(path: Path) -> Iterator[Path]:
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _check_sums(counts: Counts, contents: Mapping[str, Content], request: MergeRequest) -> None:
    """Compare the events in the merged file with those in its inputs."""
    merged = {prefix: sum(content.events.values()) for prefix, content in contents.items()}
    wanted = {prefix: found["events"] for prefix, found in counts.items()}
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


def _add_counts(counts: Sequence[Counts]) -> Counts:
    """Put together what the groups found."""
    total: Counts = {}
    for group in counts:
        for prefix, found in group.items():
            so_far = total.setdefault(prefix, {"events": 0})
            so_far["events"] += found["events"]
            for granularity in set(found) - {"events"}:
                so_far.setdefault(granularity, found[granularity])
    return total


def _check_granularity(counts: Counts, request: MergeRequest) -> None:
    for prefix, found in counts.items():
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
