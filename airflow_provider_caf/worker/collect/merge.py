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
from airflow_provider_caf.core.record import record
from airflow_provider_caf.worker.collect.collected import VERSION
from airflow_provider_caf.worker.collect.contents import Content, inspect_file
from airflow_provider_caf.worker.collect.describe_object import load_describer
from airflow_provider_caf.worker.collect.signature import FileTally
from airflow_provider_caf.worker.job.forks import run_forked
from airflow_provider_caf.worker.job.lock import hold_lock
from airflow_provider_caf.worker.root import (
    build_temporary_path,
    check_root_path,
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

_NOTHING_TO_ADD = "input list is empty - nothing to merge with"
"""What ROOT reports of a list of objects that is in one file only. Nothing is wrong with it."""

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
        tally.check(keys, {place for part in content.values() for place in part.list_places()})
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


def merge_group(inputs: Sequence[str], output: str, request: MergeRequest) -> dict[str, Any]:
    """Check some inputs and merge them.

    :returns: `counts`: of each prefix, the number of collected `events`, and for each granularity a file that has it;
        `keys`: the tally of all objects.
    """
    counts: dict[str, dict[str, Any]] = {}
    tally = FileTally()
    for path in inputs:
        contents, keys = inspect_file(path, _WHAT)
        for prefix, content in contents.items():
            found = counts.setdefault(prefix, {"events": 0})
            found["events"] += sum(content.events.values())
            if content.granularity is not None:
                found.setdefault(content.granularity, path)
        tally.add(keys, path)
    _check_granularity(counts, request)
    merge_files(inputs, output, request.output, warnings=not tally.is_known)
    return {"counts": counts, "keys": tally.to_json()}


def _merge_groups(folder: Path, output: str, request: MergeRequest) -> tuple[dict[str, dict[str, Any]], FileTally]:
    """Merge groups of inputs, each in a process, and then what they gave.

    :returns: what `merge_group` gives, of all.
    """
    groups = split_evenly(request.inputs, GROUP_SIZE, GROUPS)
    if len(groups) == 1:
        parts = [output]
        answers = [merge_group(request.inputs, output, request)]
    else:
        # Compiled here once, not in each process.
        load_describer()
        parts = [str(folder / f"{number:05d}.root") for number in range(len(groups))]
        tasks = [_build_task(group, part, request) for group, part in zip(groups, parts)]
        processes = request.processes or os.cpu_count() or 1
        answers = run_forked(tasks, processes, "a merge", note=_build_note(request, groups))
    counts, tally = _add_counts([answer["counts"] for answer in answers]), FileTally()
    _check_granularity(counts, request)
    for answer in answers:
        tally.add_json(answer["keys"])
    if len(parts) > 1:
        merge_files(parts, output, request.output, warnings=not tally.is_known)
    return counts, tally


def merge_files(inputs: Sequence[str], output: str, shown: str, *, warnings: bool = False) -> None:
    """Merge ROOT files without recompressing.

    :param output: the file to write.
    :param shown: what messages call it: it is written under another name first.
    :param warnings: whether a warning of ROOT is an error, too.
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
    with record_errors(warnings=warnings) as said:
        merged = merger.Merge()
    messages = [text for text in said if not text.endswith(_NOTHING_TO_ADD)]
    try:
        # A disk that runs full costs ROOT a line on stderr only: the file is looked at again.
        open_root_file(output, "merged file").Close()
    except InputError as error:
        raise build_write_error(shown, "merged file", find_write_errno(Path(output))) from error
    # Histograms that do not fit together are left out with an error, and success is given.
    if not merged or messages:
        reason = f" ROOT says: {messages[0]}" if messages else ""
        raise CafError(
            f"Merging {len(inputs)} files into {shown} failed.{reason}",
            hint="Objects of one name have to have the same type, binning and branches in all subjobs.",
        )


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
    return lambda: merge_group(group, part, request)


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


def _check_sums(
    counts: Mapping[str, Mapping[str, Any]], contents: Mapping[str, Content], request: MergeRequest
) -> None:
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


def _add_counts(counts: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Put together what the groups found."""
    total: dict[str, dict[str, Any]] = {}
    for group in counts:
        for prefix, found in group.items():
            so_far = total.setdefault(prefix, {"events": 0})
            so_far["events"] += found["events"]
            for granularity in set(found) - {"events"}:
                so_far.setdefault(granularity, found[granularity])
    return total


def _check_granularity(counts: Mapping[str, Mapping[str, Any]], request: MergeRequest) -> None:
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
