"""The subjobs of a pass: what is done is not run again, what is not done is.

The subjobs are real ones of the local system, but they only copy a file.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf.batch.spec import ArraySpec
from airflow_provider_caf.batch.systems.base import Submission
from airflow_provider_caf.batch.systems.local import LocalSystem
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import InputError, JobFailed
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.catalog import SubjobsRow
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.jobs.arrays import read_submission
from airflow_provider_caf.steps.manifest import Target

if TYPE_CHECKING:
    from tests.unit.conftest import Lab


@pytest.fixture
def copying(lab: Lab) -> Lab:
    """A laboratory with a calibration whose three subjobs copy a file."""
    lab.prepare(lab.calibration(collections={"default": lab.copies()}))
    return lab


def find_output(lab: Lab, subjob: int) -> Path:
    verdict = lab.open().observe().verdicts[subjob]
    (path,) = verdict.outputs
    return path


def test_all_subjobs_are_submitted_once_as_one_array(copying: Lab) -> None:
    assert copying.collect() == (0, 1, 2)
    run = copying.open()
    assert len(run.list_array_ids()) == 1
    observation = run.observe()
    assert observation.is_over
    assert observation.failed == ()
    assert observation.describe() == "3 done"
    assert [find_output(copying, number).read_bytes() for number in range(3)] == [
        path.read_bytes() for path in copying.files.collected
    ]


def test_submitting_again_submits_nothing(copying: Lab) -> None:
    copying.collect()
    ids = copying.open().list_array_ids()
    assert copying.submit() == ()
    assert copying.submit() == ()
    assert copying.open().list_array_ids() == ids
    assert {each.attempt for each in copying.open().read_attempts()} == {0}


def test_submitting_while_they_run_submits_nothing(lab: Lab, tmp_path: Path) -> None:
    go = tmp_path / "go"
    words = ["bash", "-c", 'until [ -e "$1" ]; do sleep 0.05; done; cp "$2" CollectorOutput.root', "-", str(go)]
    source = str(lab.files.collected[0])
    lab.prepare(lab.calibration(collections={"default": lab.copies([*words, source])}))
    assert lab.submit() == (0, 1, 2)
    assert lab.submit() == ()
    go.touch()
    run = lab.open()
    lab.wait(run)
    assert {(each.subjob, each.attempt) for each in run.read_attempts()} == {(0, 0), (1, 0), (2, 0)}


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"short")])
def test_an_output_that_was_lost_makes_exactly_its_subjob_run_again(copying: Lab, damage: Any) -> None:
    copying.collect()
    kept = [find_output(copying, number) for number in (0, 2)]
    before = [path.stat().st_mtime_ns for path in kept]
    damage(find_output(copying, 1))
    assert copying.open().observe().verdicts[1].status is SubjobStatus.FAILED
    assert copying.collect() == (1,)
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert find_output(copying, 1).parent.name == "attempt_1"
    assert copying.submit() == ()


def test_a_changed_definition_makes_subjobs_run_again(copying: Lab) -> None:
    copying.collect()
    folder = copying.files.collected[0].parent
    words = ["cp", "--preserve=mode", f"{folder}/{{subjob}}.root", "CollectorOutput.root"]
    copying.prepare(copying.calibration(collections={"default": copying.copies(words)}))
    submitted = copying.submit()
    run = copying.open()
    copying.wait(run)
    # The old try may count as one that has to settle first, before the new job goes.
    submitted += run.submit_missing().submitted
    copying.wait(run)
    assert submitted == (0, 1, 2)
    assert {find_output(copying, number).parent.name for number in range(3)} == {"attempt_1"}


def test_preparing_again_without_a_change_runs_nothing_again(copying: Lab) -> None:
    copying.collect()
    copying.prepare(copying.calibration(collections={"default": copying.copies()}))
    assert copying.submit() == ()


def test_another_pass_has_subjobs_of_its_own(copying: Lab) -> None:
    copying.collect()
    LocalDatabase(copying.layout().iteration(0).database).create()
    assert copying.collect(iteration=1) == (0, 1, 2)
    assert copying.submit(iteration=0) == ()


def test_new_constants_of_the_pass_before_make_the_subjobs_run_again(copying: Lab, tmp_path: Path) -> None:
    database = LocalDatabase(copying.layout().iteration(0).database)
    database.create()
    copying.collect(iteration=1)
    assert copying.submit(iteration=1) == ()
    (tmp_path / "payload").write_text("new")
    database.commit([("Spot", tmp_path / "payload", IoV(1, 1, 1, -1))])
    assert copying.collect(iteration=1) == (0, 1, 2)


def test_an_input_file_that_changed_makes_its_subjob_run_again(lab: Lab, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.root", "b.root")]
    for file in files:
        shutil.copy(lab.files.events[0], file)
    lab.prepare(lab.calibration(collections={"default": lab.copies(files=files)}))
    lab.collect()
    assert lab.submit() == ()
    shutil.copy(lab.files.events[1], files[1])
    assert lab.collect() == (1,)


def test_an_input_file_that_is_gone_is_told_before_anything_is_submitted(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "a.root"
    shutil.copy(lab.files.events[0], file)
    lab.prepare(lab.calibration(collections={"default": lab.copies(files=[file])}))
    file.unlink()
    with pytest.raises(InputError, match=r"a\.root is not there any more"):
        lab.submit()


def test_the_job_file_says_what_to_do(copying: Lab) -> None:
    LocalDatabase(copying.layout().iteration(1).database).create()
    copying.open(iteration=2).write_jobs()
    layout = copying.layout().iteration(2).collection("default")
    job = json.loads(layout.jobs.job_file(1).read_text(encoding="utf-8"))
    assert job["calibration"] == "vertex"
    assert job["collection"] == "default"
    assert job["iteration"] == 2
    assert job["subjob"] == 1
    assert job["collector"] is None
    assert job["command"][0] == "cp"
    assert job["input_files"] == [str(copying.files.events[1])]
    assert job["output_patterns"] == ["CollectorOutput.root"]
    assert job["database_chain"] == [{"kind": "local", "path": str(copying.layout().iteration(1).database)}]
    assert job["arguments"] == {}
    assert job["pre_collector"] is None


def test_the_first_pass_has_no_payloads_of_a_pass_before(copying: Lab) -> None:
    copying.open().write_jobs()
    file = copying.layout().iteration(0).collection("default").jobs.job_file(0)
    assert json.loads(file.read_text(encoding="utf-8"))["database_chain"] == []


def test_generated_arguments_reach_the_command(lab: Lab) -> None:
    words = ["bash", "-c", 'echo "$1" > CollectorOutput.root', "-", "{seed} of {calibration}; $(touch no)"]
    collection = lab.copies(words, arguments=[{"seed": 11}, {"seed": 12}], max_subjobs=2)
    assert lab.prepare(lab.calibration(collections={"default": collection})) == {"default": {"files": 3, "subjobs": 2}}
    lab.collect()
    assert [find_output(lab, number).read_text() for number in (0, 1)] == [
        "11 of vertex; $(touch no)\n",
        "12 of vertex; $(touch no)\n",
    ]


def test_only_failed_subjobs_run_again_once_the_cause_is_mended(lab: Lab, tmp_path: Path) -> None:
    there = tmp_path / "there"
    script = 'if [ "$1" = 1 ] && [ ! -e "$2" ]; then echo "no licence" >&2; exit 3; fi; cp "$3" CollectorOutput.root'
    words = ["bash", "-c", script, "-", "{subjob}", str(there), str(lab.files.collected[0])]
    lab.prepare(lab.calibration(collections={"default": lab.copies(words)}))
    lab.submit()
    run = lab.open()
    lab.wait(run)
    observation = run.observe()
    assert observation.failed == (1,)
    with pytest.raises(JobFailed) as caught:
        run.check_done(observation)
    text = str(caught.value)
    assert "1 of 3 subjobs of collection 'default' in calibration 'vertex', iteration 0, failed." in text
    assert "exit code 3" in text
    assert "no licence" in text
    assert "stderr.log" in text
    assert "only the failed subjobs run again" in str(caught.value.hint)
    there.touch()
    assert lab.collect() == (1,)


def test_tries_are_counted_from_the_first_that_counts(lab: Lab) -> None:
    collection = lab.copies(["false"], max_collector_jobs=1, max_subjob_retries=1)
    lab.prepare(lab.calibration(collections={"default": collection}))
    lab.submit()
    run = lab.open()
    lab.wait(run)
    assert run.submit_missing(0).submitted == (0,)
    lab.wait(run)
    spent = run.submit_missing(0)
    assert (spent.submitted, spent.spent) == ((), (0,))
    assert run.submit_missing(2).submitted == (0,)
    lab.wait(run)
    assert {each.attempt for each in run.read_attempts()} == {0, 1, 2}


def test_several_subjobs_in_a_job_have_their_own_folders_records_and_tries(lab: Lab, tmp_path: Path) -> None:
    there = tmp_path / "there"
    script = 'if [ "$1" = 1 ] && [ ! -e "$2" ]; then exit 3; fi; cp "$3" CollectorOutput.root'
    words = ["bash", "-c", script, "-", "{subjob}", str(there), str(lab.files.collected[0])]
    lab.prepare(lab.calibration(collections={"default": lab.copies(words, backend_args={"subjobs_per_job": 3})}))
    assert lab.submit() == (0, 1, 2)
    run = lab.open()
    lab.wait(run)
    assert [array.array.elements for array in run.observe().arrays] == [((0, 1, 2),)]
    assert run.observe().failed == (1,)
    there.touch()
    assert lab.collect() == (1,)
    assert {(each.subjob, each.attempt): each.exit_code for each in run.read_attempts()} == {
        (0, 0): 0,
        (1, 0): 3,
        (1, 1): 0,
        (2, 0): 0,
    }
    assert len({each.folder for each in run.read_attempts()}) == 4


def test_auto_packs_by_the_pass_before_then_by_the_runs_before(lab: Lab) -> None:
    many = [{"number": number} for number in range(40)]
    copy = ["cp", str(lab.files.collected[0]), "CollectorOutput.root"]
    auto = {"subjobs_per_job": "auto"}
    collection = lab.copies(copy, files=[], arguments=many, max_subjobs=40, backend_args=auto)
    lab.prepare(lab.calibration(collections={"default": collection}))

    def submit(iteration: int, seconds: float | None) -> set[int]:
        run = lab.open(iteration=iteration)
        run.write_jobs()
        (array,) = run.submit_missing(find_seconds=lambda: seconds).arrays
        lab.wait(run)
        run.check_done(run.observe())
        return {len(element) for element in array.array.elements}

    for iteration in (0, 2):
        LocalDatabase(lab.layout().iteration(iteration).database).create()
    assert submit(0, None) == {1}
    assert max(submit(1, 1000.0)) > 5
    # Nobody has made the pass before this one.
    assert submit(3, 1000.0) == {1}


def test_a_subjob_begins_with_the_memory_that_it_needed_in_the_pass_before(lab: Lab, tmp_path: Path) -> None:
    there = tmp_path / "there"
    fails_once = 'if [ "$1" = 1 ] && [ ! -e "$2" ]; then touch "$2"; echo MemoryError >&2; exit 1; fi; '
    script = fails_once + 'cp "$3" CollectorOutput.root'
    words = ["bash", "-c", script, "-", "{subjob}", str(there), str(lab.files.collected[0])]
    asked = {"memory": 1000, "memory_factor": 2}
    lab.prepare(lab.calibration(collections={"default": lab.copies(words, backend_args=asked)}))
    LocalDatabase(lab.layout().iteration(0).database).create()

    def submit(iteration: int) -> dict[tuple[int, ...], int | None]:
        run = lab.open(iteration=iteration)
        run.write_jobs()
        first = run.submit_missing()
        lab.wait(run)
        run.submit_missing(first.attempt)
        lab.wait(run)
        run.check_done(run.observe())
        return {array.array.subjobs: array.array.resources.memory for array in run.observe().arrays}

    assert submit(0) == {(0, 1, 2): 1000, (1,): 2000}
    assert submit(1) == {(0, 2): 1000, (1,): 2000}


@pytest.mark.parametrize("allowed", [1, 0.34, "34%"])
def test_a_calibration_goes_on_with_what_it_has(lab: Lab, allowed: Any) -> None:
    script = '[ "$1" != 1 ] && cp "$2" CollectorOutput.root'
    words = ["bash", "-c", script, "-", "{subjob}", str(lab.files.collected[0])]
    collection = lab.copies(words, max_failed_subjobs=allowed, max_subjob_retries=0)
    lab.prepare(lab.calibration(collections={"default": collection}))
    lab.submit()
    run = lab.open()
    lab.wait(run)
    assert run.submit_missing(0).submitted == ()
    assert run.check_done(run.observe()) == (1,)
    said = run.describe_failed(run.observe())
    assert said.startswith("1 of 3 subjobs of collection 'default' in calibration 'vertex', iteration 0, failed. max_f")
    assert "exit code 1" in said
    find_output(lab, 2).unlink()
    with pytest.raises(JobFailed, match=r"2 of 3 subjobs .* failed, and only 1 may\."):
        run.check_done(run.observe())


def test_cancelled_subjobs_are_over_and_can_be_submitted_again(lab: Lab, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = '[ -e "$1" ] || exec sleep 600; cp "$2" CollectorOutput.root'
    words = ["bash", "-c", script, "-", str(go), str(lab.files.collected[0])]
    lab.prepare(lab.calibration(collections={"default": lab.copies(words)}))
    lab.submit()
    run = lab.open()
    assert not run.observe().is_over
    with pytest.raises(JobFailed, match=r"The subjobs of collection 'default' .* are not over: \d .*running"):
        run.check_done(run.observe())
    run.cancel()
    lab.wait(run)
    assert {verdict.status for verdict in run.observe().verdicts.values()} == {SubjobStatus.CANCELLED}
    go.touch()
    assert lab.collect() == (0, 1, 2)


def test_a_calibration_that_was_not_prepared_is_refused(lab: Lab) -> None:
    with pytest.raises(InputError, match="The manifest of collection 'default'"):
        lab.open()


def test_a_command_that_does_not_write_its_output_has_failed(lab: Lab) -> None:
    lab.prepare(lab.calibration(collections={"default": lab.copies(["true"], max_collector_jobs=1)}))
    lab.submit()
    run = lab.open()
    lab.wait(run)
    with pytest.raises(JobFailed, match=r"declared output 'CollectorOutput\.root' is missing"):
        run.check_done(run.observe())


def test_what_was_submitted_is_shown_as_it_was(copying: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is built again of the record of an array: a later release would give another text."""
    copying.submit()
    run = copying.open()

    def build(_: object, array: ArraySpec) -> Submission:
        raise AssertionError(f"array {array.name} is built again")

    monkeypatch.setattr(LocalSystem, "build_submit", build)
    (shown,) = run.describe_submissions()
    folder = run.folders.array_folder(0)
    assert shown["files"] == {str(folder / "run.sh"): (folder / "run.sh").read_text()}
    assert shown["command"] == ["/bin/bash", str(folder / "run.sh")]
    copying.wait(run)
    # A release before this one has kept nothing: what is known is shown.
    (folder / "submission.json").unlink()
    (shown,) = run.describe_submissions()
    assert shown["ids"] == run.list_array_ids()
    assert "command" not in shown


def test_a_kept_submission_that_is_damaged_is_told(tmp_path: Path) -> None:
    (tmp_path / "submission.json").write_text('{"version": 1, "command": [')
    with pytest.raises(InputError, match=r"record of the submission in .* is not JSON"):
        read_submission(tmp_path)


def test_the_memory_asked_for_is_that_of_the_retry_that_asked_for_most(lab: Lab) -> None:
    words = ["bash", "-c", 'test "$CAF_ATTEMPT" = 1 || { echo MemoryError >&2; exit 1; }; cp "$1" CollectorOutput.root']
    collection = lab.copies([*words, "-", str(lab.files.collected[0])], max_collector_jobs=1)
    calibration = lab.calibration(collections={"default": collection})
    lab.prepare(calibration, target=Target(connection_args={"max_processes": 1, "memory": 1000}))
    lab.submit()
    run = lab.open()
    lab.wait(run)
    run.submit_missing(0)
    lab.wait(run)
    lab.results().add_subjobs(0, "default", run.observe(), run.read_attempts(), run.manifest.resources)
    (row,) = lab.catalog.read(SubjobsRow, lab.run.dag_id, lab.run.run_id)
    assert row.requested_memory_mb == 1500
