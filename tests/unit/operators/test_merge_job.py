"""A merge is a job: what goes wrong with it is told, and the next try or a clear mends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.lock import hold_lock
from airflow_provider_caf.hooks.batch import open_jobs
from airflow_provider_caf.io.layout import TaskJobsLayout
from airflow_provider_caf.operators.merge import CollectorMergeOperator
from tests.unit.conftest import Lab
from tests.unit.operators.running import build_job_context
from tests.unit.operators.test_strategy_job import in_thread
from tests.waiting import wait_until

__all__ = ["in_thread"]  # a fixture


@pytest.fixture
def context(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield build_job_context(lab, monkeypatch, "merge")
    jobs = find_jobs(lab)
    if jobs.manifest.exists():
        open_jobs(jobs).cancel()


def find_jobs(lab: Lab) -> TaskJobsLayout:
    return TaskJobsLayout(folder=lab.layout().iteration(0).collection("default").merge_folder)


def collect(lab: Lab, **words: Any) -> list[Path]:
    """Collect, and give the outputs."""
    lab.prepare(lab.calibration(collections={"default": lab.copies(max_files_per_collector_job=1, **words)}))
    lab.submit()
    run = lab.open()
    lab.wait(run)
    return [path for _, verdict in sorted(run.observe().verdicts.items()) for path in verdict.outputs]


def merge(context: Any) -> Any:
    operator = CollectorMergeOperator(
        task_id="merge", calibration="vertex", iteration=0, collection="default", deferrable=False
    )
    return operator.execute(context)


def count_attempts(lab: Lab) -> int:
    return len(list(find_jobs(lab).jobs.arrays_folder.iterdir()))


def test_an_output_that_is_none_is_told_after_one_try_and_a_clear_mends_it(lab: Lab, context: Any) -> None:
    output = collect(lab)[1]
    good = output.read_bytes()
    output.write_bytes(bytes(len(good)))
    with pytest.raises(AirflowFailException, match=rf"(?s)Merging collection 'default' .*{output.parent.parent.name}"):
        merge(context)
    assert count_attempts(lab) == 1
    output.write_bytes(good)
    context["ti"].max_tries = 1
    assert (merge(context)["inputs"], count_attempts(lab)) == (3, 2)


def test_a_merged_file_that_was_removed_is_told_and_a_clear_mends_it(lab: Lab, context: Any) -> None:
    # The third subjob has no file to copy.
    folder = lab.files.collected[0].parent
    collect(lab, words=["sh", "-c", f"test {{subjob}} != 2 && cp {folder}/{{subjob}}.root CollectorOutput.root"],
            max_failed_subjobs=1, max_subjob_retries=0)  # fmt: skip
    merged = merge(context)
    assert (merged["inputs"], merged["runs"], merged["failed"]) == (2, 3, 1)
    context["ti"].try_number = 2
    assert (merge(context), count_attempts(lab)) == (merged, 1)
    Path(merged["file"]).unlink()
    with pytest.raises(AirflowFailException, match="is not there any more"):
        merge(context)
    context["ti"].max_tries = 1
    assert (merge(context), count_attempts(lab)) == (merged, 2)
    assert Path(merged["file"]).exists()


def test_a_merge_that_was_killed_is_done_again_by_the_next_try(
    lab: Lab, context: Any, in_thread: Callable[[Callable[[], Any]], Future[Any]]
) -> None:
    collect(lab)
    place = lab.layout().iteration(0).collection("default")
    place.merged_file.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(place.merged_file.with_name(f".{place.merged_file.name}.lock"), "a merge of before"):
        task = in_thread(lambda: merge(context))
        wait_until(lambda: find_merges(place.merge_request))
        for pid in find_merges(place.merge_request):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(CafError, match="SIGKILL"):
            task.result()
    context["ti"].try_number = 2
    assert (merge(context)["inputs"], count_attempts(lab)) == (3, 2)


def find_merges(request: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"merge" in words and os.fsencode(request) in words:
            found.append(int(entry.name))
    return found
