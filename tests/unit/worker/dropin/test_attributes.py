"""Every public attribute, set to what the reference accepts, becomes what it becomes there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.worker.basf2.dropin.caf import strategies
from airflow_provider_caf.worker.basf2.dropin.caf.backends import (
    LSF,
    ArgumentsGenerator,
    ArgumentsSplitter,
    Job,
    JobError,
    Local,
    MaxFilesSplitter,
    MaxSubjobsSplitter,
    SubJob,
    range_arguments,
)
from airflow_provider_caf.worker.basf2.dropin.caf.framework import CAF, Algorithm, Calibration, Collection
from airflow_provider_caf.worker.basf2.dropin.caf.runners import AlgorithmsRunner, SeqAlgorithmsRunner
from airflow_provider_caf.worker.basf2.dropin.caf.state_machines import (
    AlgorithmMachine,
    CalibrationMachine,
    Machine,
    State,
)
from airflow_provider_caf.worker.basf2.dropin.caf.utils import CentralDatabase, IoV, LocalDatabase
from tests.unit.worker.dropin.conftest import CalibrationAlgorithm, Module

pytestmark = pytest.mark.usefixtures("software")

CPP = CalibrationAlgorithm()
FILES = ["/data/1.root", "/data/2.root"]
HERE = Path("here")
BACKEND = LSF()
SPLITTER = MaxFilesSplitter(max_files_per_subjob=2)


def find_name(value: Any) -> Any:
    return value.name()


def list_algorithms(value: Any) -> Any:
    return [(type(item), item.algorithm) for item in value]


Row = tuple[Any, ...]
"""A value that is set, what is read then, and how it is looked at where it is another object each time."""

JOB: dict[str, list[Row]] = {
    "name": [("job", "job")],
    "splitter": [(SPLITTER, SPLITTER), (None, None)],
    "input_sandbox_files": [
        (["here/a.py", HERE / "b", "/c"], [Path.cwd() / "here/a.py", Path.cwd() / "here/b", Path("/c")]),
        (("/c",), [Path("/c")]),
    ],
    "working_dir": [("here", Path.cwd() / "here"), (HERE, Path.cwd() / "here"), ("/a", Path("/a"))],
    "output_dir": [("here", Path.cwd() / "here"), (HERE, Path.cwd() / "here")],
    "output_patterns": [(["*.root"], ["*.root"])],
    "cmd": [(["basf2", "x.py"], ["basf2", "x.py"])],
    "args": [(["1"], ["1"]), ((3,), (3,))],
    "input_files": [(FILES, FILES), ([HERE], [HERE])],
    "setup_cmds": [(["source x"], ["source x"])],
    "backend_args": [({"queue": "s"}, {"queue": "s"})],
    "subjobs": [({}, {})],
    "database_chain": [((), ())],
    "result": [(None, None)],
    "status": [("running", "running")],
    "max_subjobs": [(3, 3)],
    "max_files_per_subjob": [(3, 3)],
}
OF_PARENT = ("name", "working_dir", "output_dir", "subjobs")
"""Attributes of a subjob that are always made of those of the job."""

SUBJOB = {**{name: rows for name, rows in JOB.items() if name not in OF_PARENT}, "id": [(7, 7)], "parent": []}

COLLECTION: dict[str, list[Row]] = {
    "collector": [("CaTest", "CaTest", find_name), (Module("Other"), "Other", find_name), (None, None)],
    "input_files": [("/data/1.root", FILES[:1]), (FILES, FILES), (["root://host//x"], ["root://host//x"])],
    "files_to_iovs": [({"x": IoV(1, 1, 1, 1)}, {"x": IoV(1, 1, 1, 1)})],
    "pre_collector_path": [(None, None), (HERE, HERE)],
    "output_patterns": [(["*.mille"], ["*.mille"])],
    "splitter": [(SPLITTER, SPLITTER), (None, None)],
    "max_collector_jobs": [(3, 3), (None, None)],
    "max_files_per_collector_job": [(3, 3), (None, None)],
    "backend_args": [({"queue": "s"}, {"queue": "s"})],
    "database_chain": [([], [])],
    "job_script": [(HERE, HERE)],
    "job_cmd": [(["basf2"], ["basf2"])],
}
CALIBRATION: dict[str, list[Row]] = {
    **{name: rows for name, rows in COLLECTION.items() if name not in ("splitter", "job_script", "job_cmd")},
    "name": [("Mean", "Mean")],
    "collections": [],
    "algorithms": [
        (CPP, [(Algorithm, CPP)], list_algorithms),
        ([CPP], [(Algorithm, CPP)], list_algorithms),
        ((CPP, CPP), [(Algorithm, CPP)] * 2, list_algorithms),
    ],
    "pre_algorithms": [(print, [print]), ([print], [print]), ((print,), [print])],
    "strategies": [
        (strategies.SimpleRunByRun, [strategies.SimpleRunByRun]),
        ([strategies.SimpleRunByRun], [strategies.SimpleRunByRun]),
        ((strategies.SimpleRunByRun,), [strategies.SimpleRunByRun]),
    ],
    "results": [({}, {})],
    "max_iterations": [(3, 3), (None, None)],
    "ignored_runs": [([(1, 2)], [(1, 2)]), (None, None)],
    "algorithms_runner": [(SeqAlgorithmsRunner, SeqAlgorithmsRunner)],
    "backend": [(BACKEND, BACKEND), (None, None)],
    "collector_full_update_interval": [(60, 60)],
    "heartbeat": [(60, 60)],
    "machine": [(None, None)],
    "iteration": [(2, 2), ("2", 2)],
    "state": [("completed", "completed"), (State("failed"), "failed")],
    "iov": [(IoV(1, 1, 1, 1), IoV(1, 1, 1, 1)), (None, None)],
    "output_database_dir": [("/db", "/db")],
    "save_payloads": [(False, False)],
    "jobs_to_submit": [([], [])],
    "dependencies": [([], [])],
    "future_dependencies": [([], [])],
}
ALGORITHM: dict[str, list[Row]] = {
    "algorithm": [(CPP, CPP)],
    "name": [("other", "other")],
    "data_input": [(print, print)],
    "pre_algorithm": [(print, print), (None, None)],
    "strategy": [(strategies.SimpleRunByRun, strategies.SimpleRunByRun)],
    "params": [({"step_size": 2}, {"step_size": 2})],
}
FRAMEWORK: dict[str, list[Row]] = {
    "calibrations": [({}, {})],
    "future_dependencies": [({}, {})],
    "dependencies": [({}, {})],
    "output_dir": [("here", "here"), (HERE, HERE)],
    "order": [(None, None)],
    "heartbeat": [(60, 60)],
    "calibration_defaults": [({}, {})],
    "backend": [(BACKEND, BACKEND)],
}
RUNNER: dict[str, list[Row]] = {
    "name": [("Mean", "Mean")],
    "algorithms": [([CPP], [CPP])],
    "input_files": [(FILES, FILES)],
    "database_chain": [([], [])],
    "dependent_databases": [([("a", "b")], [("a", "b")])],
    "output_database_dir": [(HERE, HERE)],
    "output_dir": [("here", "here"), (HERE, HERE)],
    "ignored_runs": [([], [])],
    "results": [({}, {})],
    "final_state": [("FAILED", "FAILED"), (None, None)],
}
STATE: dict[str, list[Row]] = {
    "name": [("other", "other")],
    "on_enter": [(print, [print]), ([print, len], [print, len]), ((print,), [print]), (None, []), ([], [])],
    "on_exit": [(print, [print]), ([print, len], [print, len]), ((print,), [print]), (None, [])],
}
MACHINE: dict[str, list[Row]] = {
    "states": [],
    "transitions": [],
    "state": [("other", State("other")), (State("other"), State("other"))],
    "initial_state": [("other", State("other")), (State("other"), State("other"))],
}
ALGORITHM_MACHINE: dict[str, list[Row]] = {
    "states": [],
    "transitions": [],
    "default_states": [],
    "state": [("ready", State("ready"))],
    "initial_state": [("ready", State("ready"))],
    "algorithm": [(CPP, CPP)],
    "input_files": [(FILES, FILES)],
    "dependent_databases": [([], [])],
    "database_chain": [([], [])],
    "output_dir": [("here", "here"), (HERE, HERE)],
    "output_database_dir": [(HERE, HERE)],
    "ignored_runs": [([], []), (None, None)],
    "result": [(None, None)],
}
LOCAL: dict[str, list[Row]] = {"backend_args": [({"a": 1}, {"a": 1})], "max_processes": [(3, 3)]}
BATCH: dict[str, list[Row]] = {
    "backend_args": [({"a": 1}, {"a": 1})],
    "global_job_limit": [(3, 3)],
    "sleep_between_submission_checks": [(3, 3)],
}
CALIBRATION_MACHINE: dict[str, list[Row]] = {
    "states": [],
    "transitions": [],
    "default_states": [],
    "steps": [],
    "state": [("completed", State("completed")), (State("failed"), State("failed"))],
    "initial_state": [("completed", State("completed"))],
    "calibration": [(None, None)],
    "iteration": [(2, 2)],
    "iov_to_calibrate": [(IoV(1, 1, 1, 1), IoV(1, 1, 1, 1)), (None, None)],
    "collector_backend": [(BACKEND, BACKEND), (None, None)],
    "root_dir": [("here", "here"), (HERE, HERE)],
    "failure": [("why", "why")],
}
STRATEGY: dict[str, list[Row]] = {
    "algorithm": [(CPP, CPP)],
    "input_files": [(FILES, FILES)],
    "dependent_databases": [([], [])],
    "database_chain": [([], [])],
    "output_dir": [("here", "here"), (HERE, HERE)],
    "output_database_dir": [(HERE, HERE)],
    "ignored_runs": [([], []), (None, None)],
    "results": [([], [])],
    "queue": [(None, None)],
    "machine": [(None, None)],
    "first_execution": [(False, False)],
}
GENERATOR = ArgumentsGenerator(range_arguments, 1)
FILES_SPLITTER: dict[str, list[Row]] = {
    "arguments_generator": [(GENERATOR, GENERATOR), (None, None)],
    "max_files_per_subjob": [(3, 3)],
}
JOBS_SPLITTER = {"arguments_generator": FILES_SPLITTER["arguments_generator"], "max_subjobs": [(3, 3)]}
ARGUMENTS_SPLITTER = {**JOBS_SPLITTER, "max_subjobs": [(3, 3), (None, None)]}
ARGUMENTS: dict[str, list[Row]] = {
    "generator_function": [(range_arguments, range_arguments)],
    "args": [((1,), (1,))],
    "kwargs": [({"stop": 3}, {"stop": 3})],
}
CENTRAL: dict[str, list[Row]] = {"global_tag": [("tag", "tag")]}


class Runner(AlgorithmsRunner):
    def run(self, *_: Any) -> None: ...


def build_subjob() -> SubJob:
    return Job("job").create_subjob(0)


def build_machine() -> CalibrationMachine:
    return CalibrationMachine(Calibration("Mean"))


TABLES: dict[str, tuple[Callable[[], Any], dict[str, list[Row]]]] = {
    "Job": (partial(Job, "job"), JOB),
    "SubJob": (build_subjob, SUBJOB),
    "Collection": (Collection, COLLECTION),
    "Calibration": (partial(Calibration, "Mean", algorithms=CPP), CALIBRATION),
    "Algorithm": (partial(Algorithm, CPP), ALGORITHM),
    "CAF": (CAF, FRAMEWORK),
    "AlgorithmsRunner": (partial(Runner, "Mean"), RUNNER),
    "State": (partial(State, "init"), STATE),
    "Machine": (partial(Machine, ["init", "other"], "init"), MACHINE),
    "AlgorithmMachine": (AlgorithmMachine, ALGORITHM_MACHINE),
    "CalibrationMachine": (build_machine, CALIBRATION_MACHINE),
    "SingleIOV": (partial(strategies.SingleIOV, Algorithm(CPP)), STRATEGY),
    "SequentialRunByRun": (partial(strategies.SequentialRunByRun, Algorithm(CPP)), STRATEGY),
    "MaxFilesSplitter": (MaxFilesSplitter, FILES_SPLITTER),
    "MaxSubjobsSplitter": (MaxSubjobsSplitter, JOBS_SPLITTER),
    "ArgumentsSplitter": (partial(ArgumentsSplitter, arguments_generator=GENERATOR), ARGUMENTS_SPLITTER),
    "ArgumentsGenerator": (partial(ArgumentsGenerator, range_arguments), ARGUMENTS),
    "CentralDatabase": (partial(CentralDatabase, "tag"), CENTRAL),
    "Local": (Local, LOCAL),
    "LSF": (LSF, BATCH),
}
ROWS = [
    pytest.param(build, name, row, id=f"{kind}.{name}-{number}")
    for kind, (build, rows) in TABLES.items()
    for name in rows
    for number, row in enumerate(rows[name])
]


@pytest.mark.parametrize(("build", "name", "row"), ROWS)
def test_an_attribute_takes_what_the_reference_takes(build: Callable[[], Any], name: str, row: Row) -> None:
    given, expected, *looks = row
    made = build()
    setattr(made, name, given)
    value = getattr(made, name)
    for look in looks if value is not None else ():
        value = look(value)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("kind", TABLES)
def test_no_attribute_is_left_out(kind: str) -> None:
    build, rows = TABLES[kind]
    made = build()
    settable = {
        name
        for base in type(made).__mro__
        for name, value in vars(base).items()
        if hasattr(type(value), "__set__") and getattr(value, "fset", True) is not None
    }
    # What a subjob does not set itself is that of its job.
    found = {name for name in settable | {*vars(made), *vars(getattr(made, "parent", made))} if name[0] != "_"}
    assert found - set(OF_PARENT if kind == "SubJob" else ()) == set(rows)


@pytest.mark.parametrize("name", OF_PARENT)
def test_what_a_subjob_has_of_its_job_cannot_be_set(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(build_subjob(), name, "x")


def test_a_subjob_follows_its_job() -> None:
    subjob = build_subjob()
    subjob.parent.name, subjob.parent.working_dir = "renamed", "/jobs"
    subjob.parent.input_sandbox_files = ["/a"]
    subjob.parent.splitter = SPLITTER
    assert (subjob.name, subjob.working_dir, subjob.input_sandbox_files) == ("renamed_0", Path("/jobs/0"), [Path("/a")])
    assert (subjob.splitter, subjob.max_files_per_subjob, subjob.subjobs) == (SPLITTER, 2, {})
    subjob.cmd = ["own"]
    assert (subjob.cmd, subjob.parent.cmd, copy.deepcopy(subjob).name) == (["own"], [], "renamed_0")
    with pytest.raises(JobError, match="cannot have subjobs"):
        subjob.create_subjob(0)
    with pytest.raises(AttributeError):
        _ = subjob.nothing


def test_what_is_given_at_the_beginning_is_converted_too(tmp_path: Path) -> None:
    (tmp_path / "database.txt").touch()
    for path in (str(tmp_path / "database.txt"), tmp_path / "database.txt"):
        database = LocalDatabase(path)
        assert (database.filepath, database.payload_dir) == (tmp_path / "database.txt", tmp_path)
    job = Job("job")
    job.input_sandbox_files = ["/a"]
    assert Job("copy", job.job_dict).input_sandbox_files == [Path("/a")]
