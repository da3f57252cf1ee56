"""Build and parse the ids of the tasks and task groups that a DAG of a definition has.

===================================================  ==============================================================
task id                                              `step` of its `TaskName`
===================================================  ==============================================================
`configure`, `join`, `report`, `sign_off`,           the id itself: a task of the whole run
`publish`
`<calibration>.prepare`                              `prepare`: checks and resolves
`<calibration>.iteration_<k>.<collection>.submit`    `submit`; also `wait` and `merge`: one collection in pass k
`<calibration>.iteration_<k>.<algorithm>`            `algorithm`: one algorithm in pass k
`<calibration>.iteration_<k>.decide`                 `decide`: the end of pass k
`<calibration>.finish`                               `finish`: the end of the calibration
`<calibration>.run`                                  `run`: a step that collects nothing
===================================================  ==============================================================

The groups are what stands before the last dot: `<calibration>`, `<calibration>.iteration_<k>` and
`<calibration>.iteration_<k>.<collection>`. The DAG that describes a script has the tasks `describe` and `run`.
"""

from __future__ import annotations

import re

from airflow_provider_caf.core.record import record

CONFIGURE, JOIN, REPORT, SIGN_OFF, PUBLISH = "configure", "join", "report", "sign_off", "publish"
TASKS_OF_RUN = (CONFIGURE, JOIN, REPORT, SIGN_OFF, PUBLISH)
"""Tasks of the whole run. No calibration can have their names."""

PREPARE, FINISH, RUN = "prepare", "finish", "run"
SUBMIT, WAIT, MERGE = "submit", "wait", "merge"
TASKS_OF_COLLECTION = (SUBMIT, WAIT, MERGE)
ALGORITHM = "algorithm"
DECIDE = "decide"
"""It stands beside the collections and algorithms of a pass. None of them can have its name."""

DESCRIBE = "describe"
"""In the DAG that describes a script; the task `run` follows it."""

_IN_PASS = re.compile(r"iteration_(0|[1-9][0-9]*)\.(.+)", re.DOTALL)


@record
class TaskName:
    """A task of a run, by the parts of its id.

    :param step: see the table above; of a task that is not in the table, its id in its group.
    :param calibration: None for a task of the whole run.
    :param iteration: None for one outside of the passes.
    :param owner: the collection or the algorithm; None for a task of neither.
    """

    step: str
    calibration: str | None = None
    iteration: int | None = None
    owner: str | None = None

    @property
    def task_id(self) -> str:
        """The id in the DAG."""
        return self.label if self.calibration is None else f"{self.calibration}{self._pass_prefix}.{self.label}"

    @property
    def group_id(self) -> str | None:
        """The id of the task group that has the task; None: it is in none."""
        return self.task_id.rpartition(".")[0] or None

    @property
    def label(self) -> str:
        """The id without calibration and pass, such as `hits.wait`."""
        if self.owner is None:
            return self.step
        return self.owner if self.step == ALGORITHM else f"{self.owner}.{self.step}"

    @property
    def _pass_prefix(self) -> str:
        return "" if self.iteration is None else f".{name_pass(self.iteration)}"


def name_pass(iteration: int) -> str:
    """Return the name of the task group of a pass, in the group of its calibration."""
    return f"iteration_{iteration}"


def parse_task_id(task_id: str) -> TaskName:
    """Parse a task id. Any text is one: DAGs may have tasks that somebody else has added."""
    calibration, dot, rest = task_id.partition(".")
    if not dot:
        return TaskName(step=task_id)
    match = _IN_PASS.fullmatch(rest)
    if match is None:
        return TaskName(step=rest, calibration=calibration)
    iteration, label = int(match[1]), match[2]
    owner, dot, step = label.partition(".")
    if not dot and label != DECIDE:
        return TaskName(step=ALGORITHM, calibration=calibration, iteration=iteration, owner=label)
    if step in TASKS_OF_COLLECTION:
        return TaskName(step=step, calibration=calibration, iteration=iteration, owner=owner)
    return TaskName(step=label, calibration=calibration, iteration=iteration)
