"""Look into input files, in processes of the job's environment: which runs and how many events are in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.files import is_uri
from airflow_provider_caf.core.record import record
from airflow_provider_caf.io.filemap import MappedFile
from airflow_provider_caf.io.metadata_cache import MetadataCache, build_mapped, measure
from airflow_provider_caf.steps.app_run import run_app

_CHUNK = 50
_TIMEOUT = 3600.0
_SHOWN = 20


@record
class HowToRead:
    """Where in a file the runs stand.

    :param how: `tree`: in two branches of a tree of events. `basf2`: in the metadata of basf2.
    """

    how: str = "tree"
    tree: str = "events"
    exp_branch: str = "exp"
    run_branch: str = "run"

    @property
    def key(self) -> str:
        """A text that differs where something else may be found."""
        return self.how if self.how != "tree" else f"{self.tree}:{self.exp_branch}:{self.run_branch}"


def read_metadata(
    files: Sequence[str],
    how: HowToRead,
    *,
    app: Path,
    resources: Resources,
    cache: MetadataCache | None = None,
    processes: int | None = None,
    note: Callable[[dict[str, MappedFile]], None] | None = None,
) -> dict[str, MappedFile]:
    """Return what is in files.

    :param app: a job app.
    :param resources: the environment of the processes.
    :param cache: what was found before, and where to keep what is found now.
    :param processes: at most so many at once; None: one for each core.
    :param note: gets what was found, part by part, as it comes.
    :raises InputError: with every file that cannot be read; what was found in the others is in the cache.
    :raises TransportError: if a process cannot be run.
    """
    found = {} if cache is None else cache.find((file for file in files if not is_uri(file)), how.key)
    if found and note is not None:
        note(found)
    missing = [file for file in files if file not in found]
    chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
    faults: list[str] = []
    with ThreadPoolExecutor(processes or os.cpu_count() or 1, thread_name_prefix="caf-metadata") as pool:
        tasks = [pool.submit(_look_into, chunk, how, app, resources) for chunk in chunks]
        try:
            for task in as_completed(tasks):
                part, broken = task.result()
                faults += broken
                found |= part
                if cache is not None:
                    cache.keep(part, how.key)
                if note is not None:
                    note(part)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if faults:
        more = f"\n  … and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise InputError(
            f"{len(faults)} of {len(files)} files could not be looked into:\n"
            + "\n".join(f"  {fault}" for fault in faults[:_SHOWN])
            + more,
            hint="Make these files again, or leave them out.",
        )
    return {file: found[file] for file in files}


def _look_into(
    files: Sequence[str], how: HowToRead, app: Path, resources: Resources
) -> tuple[dict[str, MappedFile], list[str]]:
    states = {file: measure(file) for file in files}
    answer = run_app(
        "metadata",
        {
            "files": list(files),
            "how": how.how,
            "tree": how.tree,
            "exp_branch": how.exp_branch,
            "run_branch": how.run_branch,
        },
        app,
        resources,
        what=f"Looking into {len(files)} files",
        timeout=_TIMEOUT,
        hint="Does the job's Python start, and does it have ROOT?",
    )
    found, faults = {}, []
    for file, seen in zip(files, answer.value["files"], strict=True):
        if seen["ok"]:
            found[file] = build_mapped(states[file], seen["low"], seen["high"], seen["events"])
        else:
            faults.append(str(seen["error"]))
    return found, faults
