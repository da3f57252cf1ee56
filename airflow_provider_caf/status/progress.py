"""The progress of the calibrations of a run, in the words of the CAF: from Airflow's task states and the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_provider_caf.core.file_names import JOBS_COLLECTION
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.task_ids import ALGORITHM, DECIDE, FINISH, MERGE, PREPARE, RUN, SUBMIT, WAIT, TaskName
from airflow_provider_caf.definitions.calibration import CalibrationBase
from airflow_provider_caf.definitions.stored import read_caf
from airflow_provider_caf.io.catalog import Catalog, ExecutionCount, FailedSubjobRow, SubjobsRow
from airflow_provider_caf.status.tasks import FINISHED, UNBEGUN, TaskRow, group_by_calibration

LEFT_OUT, NOT_REACHED = "left out", "not reached"

Tasks = Mapping[TaskName, TaskRow]


@record
class AlgorithmProgress:
    """The progress of an algorithm in the current pass of its calibration.

    :param state: of its task, in Airflow's words.
    :param codes: result code → how many executions ended so.
    :param seconds: of all its executions.
    """

    name: str
    state: str | None
    codes: Mapping[str, int]
    seconds: float = 0.0

    @property
    def executions(self) -> int:
        """The number of executions that have ended."""
        return sum(self.codes.values())


@record
class CalibrationProgress:
    """The progress of one calibration.

    :param state: in the CAF's words: waiting, preparing, collecting, merging, running algorithms, deciding, completed,
        failed, upstream failed, running, left out, not reached.
    :param iteration: the number of the pass it is in, from 0; None before the first.
    :param passes: how many there can be.
    :param checkpoint: the last step of this pass that has ended, None before the first.
    :param collections: the counts of this pass.
    :param waiting: what it waits for: jobs, other calibrations; None where it does not.
    :param seconds: since its first task began, until its last one ended.
    :param reason: why it failed; None where it has not.
    """

    name: str
    state: str
    iteration: int | None = None
    passes: int = 0
    checkpoint: str | None = None
    collections: tuple[SubjobsRow, ...] = ()
    algorithms: tuple[AlgorithmProgress, ...] = ()
    depends_on: tuple[str, ...] = ()
    waiting: str | None = None
    seconds: float = 0.0
    reason: str | None = None

    @property
    def subjobs(self) -> int:
        """The number of subjobs of this pass."""
        return sum(row.total for row in self.collections)

    @property
    def subjobs_done(self) -> int:
        """The number of subjobs that ended well."""
        return sum(row.done for row in self.collections)

    @property
    def subjobs_failed(self) -> int:
        """The number of subjobs whose last attempt failed."""
        return sum(row.failed for row in self.collections)

    @property
    def executions(self) -> int:
        """IoVs that the algorithms of this pass have executed."""
        return sum(algorithm.executions for algorithm in self.algorithms)

    def to_json(self) -> dict[str, Any]:
        """Return the form of `status --json`."""
        progress = ("name", "state", "iteration", "passes", "checkpoint")
        counts = ("subjobs", "subjobs_done", "subjobs_failed", "executions")
        causes = ("depends_on", "waiting", "seconds", "reason")
        return {name: getattr(self, name) for name in (*progress, *counts, *causes)}


def read_progress(
    dag_id: str, run_id: str, tasks: Mapping[str, TaskRow], catalog: Catalog
) -> list[CalibrationProgress]:
    """Read how far every calibration of a run is.

    :param tasks: all tasks of the run.
    :param catalog: holds counts, executions and the definition of the run.
    """
    run = catalog.read_run(dag_id, run_id)
    members: dict[str, CalibrationBase] = {}
    if run is not None:
        members = {member.name: member for member in read_caf(run.definition).calibrations}
    groups = group_by_calibration(tasks)
    judged = {name: judge_state(own) for name, own in groups.items()}
    states = {
        # Airflow skips what a run has not reached when it is ended; the run had not left it out.
        name: NOT_REACHED if state == LEFT_OUT and run is not None and name in run.chosen else state
        for name, (state, _) in judged.items()
    }
    subjobs = catalog.read(SubjobsRow, dag_id, run_id)
    jobs = {row.calibration: row for row in subjobs if row.collection == JOBS_COLLECTION}
    executed = catalog.count_executions(dag_id, run_id)
    newest = catalog.read(FailedSubjobRow, dag_id, run_id, limit=len(groups) + 50, newest_by="ended")
    failures = {row.calibration: row for row in reversed(newest)}
    found = []
    for name, own in groups.items():
        iteration = judged[name][1]
        depends_on = tuple(members[name].dependencies) if name in members else ()
        found.append(
            CalibrationProgress(
                name=name,
                state=states[name],
                iteration=iteration,
                passes=len({task.iteration for task in own if task.iteration is not None}),
                checkpoint=find_checkpoint(own, iteration),
                collections=tuple(row for row in subjobs if (row.calibration, row.iteration) == (name, iteration)),
                algorithms=_list_algorithms(own, iteration or 0, executed),
                depends_on=depends_on,
                waiting=_find_waiting(
                    own, iteration, [needed for needed in depends_on if states.get(needed) != "completed"], jobs
                ),
                seconds=_measure(own.values()),
                reason=_find_reason(own, failures.get(name)) if states[name] == "failed" else None,
            )
        )
    return found


def judge_state(tasks: Tasks) -> tuple[str, int | None]:
    """Return the state of a calibration in the words of the CAF, and its iteration.

    :param tasks: its tasks.
    """
    begun = [task.iteration for task, row in tasks.items() if task.iteration is not None and row.state not in UNBEGUN]
    iteration = max(begun, default=None)
    steps = {task.step: row.state for task, row in tasks.items() if task.iteration is None}
    prepare = steps.get(PREPARE)
    if "success" in (steps.get(FINISH), steps.get(RUN)):
        return "completed", iteration
    if "failed" in {row.state for row in tasks.values()}:
        return "failed", iteration
    unbegun = {"skipped": LEFT_OUT, "upstream_failed": "upstream failed", None: "waiting"}
    if RUN in steps:
        return unbegun.get(steps[RUN], "running"), iteration
    if prepare != "success":
        return unbegun.get(prepare, "preparing"), iteration
    return _judge_pass(tasks, iteration), iteration


def _judge_pass(tasks: Tasks, iteration: int | None) -> str:
    open_steps = {
        task.step for task, row in tasks.items() if task.iteration == (iteration or 0) and row.state not in FINISHED
    }
    if open_steps & {SUBMIT, WAIT}:
        return "collecting"
    if MERGE in open_steps:
        return "merging"
    return "running algorithms" if ALGORITHM in open_steps else "deciding"


def find_checkpoint(tasks: Tasks, iteration: int | None) -> str | None:
    """Return the last step that a whole pass has behind it, in the words of the CAF."""
    steps = {task.step: row.state for task, row in tasks.items() if task.iteration is None}
    if "success" in (steps.get(FINISH), steps.get(RUN)):
        return "finished"
    if steps.get(PREPARE) != "success":
        return None
    reached = "prepared"
    for word, step in (
        ("submitted", SUBMIT),
        ("collected", WAIT),
        ("merged", MERGE),
        ("algorithms run", ALGORITHM),
        ("decided", DECIDE),
    ):
        states = [row.state for task, row in tasks.items() if task.iteration == iteration and task.step == step]
        if iteration is None or any(state != "success" for state in states):
            break
        reached = word if states else reached
    return reached


def _list_algorithms(tasks: Tasks, iteration: int, executed: Iterable[ExecutionCount]) -> tuple[AlgorithmProgress, ...]:
    found = []
    for task, row in tasks.items():
        if task.step == ALGORITHM and task.iteration == iteration:
            place = (task.calibration, iteration, task.owner)
            own = [count for count in executed if (count.calibration, count.iteration, count.algorithm) == place]
            found.append(
                AlgorithmProgress(
                    name=task.owner or "",
                    state=row.state,
                    codes={count.code.name: count.executions for count in own},
                    seconds=round(sum(count.seconds for count in own), 3),
                )
            )
    return tuple(found)


def _find_waiting(
    tasks: Tasks, iteration: int | None, unfinished: Iterable[str], jobs: Mapping[str, SubjobsRow]
) -> str | None:
    """Return what a calibration waits for: its jobs, or other calibrations; None where it does not.

    :param jobs: task id → the counts of its own jobs.
    """
    if all(row.state in FINISHED for row in tasks.values()):
        return None
    if all(row.state is None for row in tasks.values()):
        return ", ".join(unfinished) or None
    notes = [
        _describe_job(task, jobs[task.task_id])
        if task.step == ALGORITHM and task.task_id in jobs
        else (row.progress or "")
        for task, row in tasks.items()
        if task.iteration == iteration and row.state not in FINISHED
    ]
    return "; ".join(filter(None, notes)) or None


def _describe_job(task: TaskName, row: SubjobsRow) -> str:
    """Return what an algorithm that is a job waits for: what the triggerer has seen last, other than its task can."""
    counts = {"held": row.held, "queued": row.queued, "running": row.running}
    return next((f"the job of {task.owner} is {state}" for state, count in counts.items() if count), "")


def _measure(rows: Iterable[TaskRow]) -> float:
    """Return the seconds from the begin of the first of some tasks to the end of the last one."""
    times = [(row.started, row.ended or datetime.now(UTC)) for row in rows if row.started is not None]
    if not times:
        return 0.0
    return round((max(ended for _, ended in times) - min(began for began, _ in times)).total_seconds(), 1)


def _find_reason(tasks: Tasks, failure: FailedSubjobRow | None) -> str:
    """Return why a calibration failed, in few words."""
    broken, row = min(
        ((task, row) for task, row in tasks.items() if row.state == "failed"), key=lambda item: item[0].task_id
    )
    if row.reason:
        return f"{broken.task_id}: {row.reason}"
    if failure is not None and broken.step in (WAIT, MERGE):
        return f"subjob {failure.subjob} of {failure.collection}: {failure.reason}"
    return f"the task {broken.task_id} failed; see its log"
