"""Kill -9 of everything, at random moments: the database is that of a run in the worker, and nothing is done twice."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_caf import Algorithm
from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout
from airflow_provider_caf.execution.job import open_checkpoint
from airflow_provider_caf.hooks.batch import open_jobs
from airflow_provider_caf.operators.strategy import StrategyOperator
from airflow_provider_caf.steps.manifest import Target
from airflow_provider_caf.steps.strategy_job import find_jobs_folder
from tests.contract.batch_site import Site
from tests.contract.test_strategy_job import lab
from tests.unit.conftest import DAG_ID, RUN_ID, Lab, State, lab_files
from tests.waiting import is_running, wait_until

__all__ = ["lab", "lab_files"]  # fixtures

# Slurm needs a minute to see that a job is dead whose daemon was killed.
pytestmark = pytest.mark.timeout(1800)

KILLS = 30
DAEMONS = {
    "htcondor": ("condor_schedd", "condor_startd", "condor_shadow"),
    "slurm": ("slurmctld", "slurmscriptd", "slurmd"),
}
STEPS = 15
"""So often the strategy goes through the four runs."""
EXECUTIONS = 4 * STEPS
SECONDS = 0.05
"""What an execution takes."""
LIMIT = 600.0
"""Seconds: a batch system that has lost a job may need minutes to say so."""

STRATEGY = f"""
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.strategies import Commit, Execute, Report, Strategy, complete


class ChainStrategy(Strategy):
    def plan(self, runs):
        total = 0.0
        for step in range({STEPS}):
            for run in runs:
                done = yield Execute(runs=(run,), iov=IoV.spanning((run,)), input=total)
                total = done.output["total"]
                if step == {STEPS} - 1:
                    yield Report(execution=done)
                    yield Commit(execution=done)
        return complete()
"""

ALGORITHM = """
import json
import time
from pathlib import Path

from airflow_provider_caf.worker import ResultCode
from plain_calibrators import MeanAlgorithm


class ChainAlgorithm(MeanAlgorithm):
    '''Adds up the means of all executions before it, and notes what is asked of it although it is recorded.'''

    def calibrate(self):
        for path in Path("checkpoint").glob("executions-*.json"):
            if any(record.get("input") == self.input for record in json.loads(path.read_text())):
                Path("repeated").write_text(repr(self.input))
        time.sleep(self.seconds)
        total = self.input + self.get("x").GetMean()
        self.output["total"] = total
        self.save_payload({"value": total}, "Mean")
        return ResultCode.OK
"""

TRIES = """
import json, os, sys, traceback
from pathlib import Path
from types import SimpleNamespace
from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.operators.strategy import StrategyOperator
from tests.unit.conftest import DAG_ID, RUN_ID, State

# A minute for each job that was killed without a record: the files of this machine show at once.
Patience.choose_grace = lambda self, usual: min(usual, 2.0)

class FileState(State):
    def set(self, key, value):
        super().set(key, value)
        # As a database would: the whole new value or the old one, whenever the kill comes.
        new = Path(sys.argv[1] + ".new")
        new.write_text(json.dumps(dict(self)))
        new.rename(sys.argv[1])

def calibrate(number):
    ti = SimpleNamespace(dag_id=DAG_ID, run_id=RUN_ID, task_id="fit", map_index=-1, try_number=number, max_tries=1000)
    operator = StrategyOperator(
        task_id="fit", calibration="vertex", iteration=0, algorithm="ChainAlgorithm", deferrable=False
    )
    state = FileState(json.loads(Path(sys.argv[1]).read_text()))
    operator.execute({"ti": ti, "task_state_store": state})

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # where Airflow logs to
number = 0
while sys.stdin.readline():
    number += 1
    child = os.fork()
    if not child:
        try:
            calibrate(number)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(child, file=answers)
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)
"""
"""Tries of one task, by a process that has imported what they take: a line starts one, the next asks how it ended."""


class Tries:
    """The task: it is tried again as long as it does not succeed."""

    def __init__(self, folder: Path) -> None:
        store = folder / "state.json"
        store.write_text("{}")
        argv = [sys.executable, "-W", "ignore", "-c", TRIES, str(store)]
        self._log = folder / "tries.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        self.codes: list[int] = []
        self.pid = 0
        """The try that is under way; 0: none. (A signal to process 0 would end whoever sends it, with its group.)"""

    def _say(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def _hear(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def go_on(self) -> bool:
        """See to it that a try is under way, and tell whether the task has not succeeded yet."""
        if self.pid and is_running(self.pid):
            return True
        if self.pid:
            self._say()
            self.codes.append(self._hear())
            self.pid = 0
            assert len(self.codes) < 3 * KILLS, self.describe()
        if self.codes and self.codes[-1] == 0:
            return False
        self._say()
        self.pid = self._hear()
        return True

    def describe(self) -> str:
        """Give how the tries ended, and the end of what they have said."""
        return f"{self.codes}\n{self._log.read_text()[-4000:]}"

    def end(self) -> None:
        """End it with its try."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


@pytest.fixture
def tries(site: Site) -> Iterator[Tries]:
    tries = Tries(site.folder)
    yield tries
    tries.end()


def prepare(site: Site, lab: Lab, *, as_job: bool) -> AlgorithmLayout:
    """Leave what the tasks before the algorithm leave."""
    algorithm_file, strategy_file = (lab.files.plain_module.with_name(f"chain_{name}.py") for name in ("fit", "plan"))
    algorithm_file.write_text(ALGORITHM)
    strategy_file.write_text(STRATEGY)
    name = site.system.name
    words: dict[str, Any] = {"backend": name, "max_retries": KILLS} if as_job else {}
    algorithm = Algorithm(
        f"{algorithm_file}:ChainAlgorithm",
        f"{strategy_file}:ChainStrategy",
        settings={"seconds": SECONDS if as_job else 0},
        **words,
    )
    arguments = {"python": site.python, "environment": {"PYTHONPATH": str(lab.files.no_root)}}
    target = Target(backend=name, connection_args={**site.resources.to_json(), **arguments})
    lab.prepare(
        lab.calibration(algorithms=algorithm), algorithms={algorithm.name: target} if as_job else {}, target=target
    )
    lab.take_merged()
    return lab.layout().iteration(0).algorithm("ChainAlgorithm")


def read_database(layout: AlgorithmLayout) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in layout.database.iterdir()}


def calibrate_here(site: Site, lab: Lab) -> dict[str, bytes]:
    """Give the database of a run in the worker that nobody disturbs."""
    layout = prepare(site, lab, as_job=False)
    ti = SimpleNamespace(dag_id=DAG_ID, run_id=RUN_ID, task_id="here", map_index=-1, try_number=1, max_tries=0)
    operator = StrategyOperator(task_id="here", calibration="vertex", iteration=0, algorithm="ChainAlgorithm")
    context: Any = {"ti": ti, "task_state_store": State()}
    assert operator.execute(context)["executions"] == EXECUTIONS
    return read_database(layout)


class Victims:
    """What can be killed: the task, and all that lives of its job.

    :param start_daemons: what starts those of the batch system again; None: they are spared.
    """

    def __init__(self, site: Site, layout: AlgorithmLayout, tries: Tries, start_daemons: str | None) -> None:
        self._jobs = os.fsencode(layout.jobs_folder) + b"/"
        self._request = os.fsencode(layout.job_request)
        self._system = site.system.name
        self._tries = tries
        self._start = None if start_daemons is None else shlex.split(start_daemons)
        self.kinds = ["task", "wrapper", "strategy", "algorithm", "job", "all"]
        if site.is_slow:
            self.kinds.append("starter")
        if self._start is not None:
            self.kinds += ["daemons", "all and daemons"]

    def find_job(self) -> dict[int, list[bytes]]:
        """Find the processes of the job: number → words."""
        found = {pid: words for pid, words in list_processes() if self._jobs in b" ".join(words)}
        return {pid: words for pid, words in found.items() if pid != os.getpid()}

    def find(self, kind: str) -> list[int]:
        """Find the processes of a kind."""
        job = self.find_job()
        if kind == "task":
            return [self._tries.pid] if self._tries.pid else []
        if kind in ("job", "all", "all and daemons"):
            more = {"job": [], "all": ["task"], "all and daemons": ["task", "daemons"]}[kind]
            return [*job, *(pid for name in more for pid in self.find(name))]
        if kind == "starter":
            parents = {read_parent(pid) for pid in self.find("wrapper")}
            return [pid for pid in parents if read_name(pid) in ("slurmstepd", "condor_starter")]
        if kind == "daemons":
            return find_daemons(self._system)
        verbs = {"wrapper": (b"subjob", b"pool"), "strategy": (b"strategy",), "algorithm": (b"algorithm",)}[kind]
        return [pid for pid, words in job.items() if any(verb in words for verb in verbs)]

    def kill(self, kind: str) -> None:
        """Kill what there is of a kind, and start again what does not start by itself."""
        pids = self.find(kind)
        assert all(pid > 1 for pid in pids), pids
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if "daemons" in kind:
            command = self._start
            assert command is not None
            # Their ports are free when they are dead, and not always at once.
            wait_until(lambda: not any(map(is_running, pids)))
            argv = ["timeout", "30", *command]
            wait_until(lambda: start_daemons(argv), limit=LIMIT)


def start_daemons(command: list[str]) -> bool:
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0


def list_processes() -> Iterator[tuple[int, list[bytes]]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(entry.name), (entry / "cmdline").read_bytes().split(b"\0")


def read_parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def read_name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def find_daemons(system: str) -> list[int]:
    """Find the daemons of the batch system whose commands are on PATH, and of no other."""
    if system == "slurm":
        mark = f"SLURM_CONF={os.environ['SLURM_CONF']}\0"
    else:
        found = shutil.which("condor_submit")
        assert found is not None
        mark = f"CONDOR_CONFIG={Path(found).parents[1] / 'condor_config'}\0"
    pids = []
    for pid, _ in list_processes():
        with suppress(OSError):
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            if read_name(pid) in DAEMONS[system] and mark.encode() in environment:
                pids.append(pid)
    return pids


def kill_and_try_again(victims: Victims, tries: Tries, layout: AlgorithmLayout, generator: random.Random) -> list[str]:
    """Kill at moments that are spread over the executions, until the task has succeeded, and give what was killed."""
    killed: list[str] = []
    moments = sorted(generator.randrange(EXECUTIONS) for _ in range(KILLS))
    kinds = [victims.kinds[number % len(victims.kinds)] for number in range(KILLS)]
    generator.shuffle(kinds)
    for moment, kind in zip(moments, kinds, strict=True):

        def has_come(moment: int = moment) -> bool:
            return not tries.go_on() or open_checkpoint(layout).count() >= moment

        wait_until(has_come, tries.describe, limit=LIMIT)
        # Also while it is starting again.
        time.sleep(generator.uniform(0, 6 * SECONDS))
        victims.kill(kind)
        killed.append(kind)
    wait_until(lambda: not tries.go_on(), tries.describe, limit=LIMIT)
    return killed


def kill_everything(site: Site, lab: Lab, tries: Tries, start_daemons: str | None) -> None:
    expected = calibrate_here(site, lab)
    layout = prepare(site, lab, as_job=True)
    seed = random.randrange(2**32)
    print(f"seed {seed}", flush=True)
    victims = Victims(site, layout, tries, start_daemons)
    killed = kill_and_try_again(victims, tries, layout, random.Random(seed))
    site.made.append(open_jobs(find_jobs_folder(layout)).subjob_set)
    print(f"killed {killed}; the tries ended with {tries.codes}")
    assert len(killed) == KILLS
    assert read_database(layout) == expected
    assert not (layout.folder / "repeated").exists(), "what was recorded was done again"
    assert open_checkpoint(layout).count() == EXECUTIONS
    wait_until(lambda: not victims.find_job(), victims.find_job)


@pytest.mark.only_on("local")
def test_kill_9_of_everything_on_this_machine(site: Site, lab: Lab, tries: Tries) -> None:
    kill_everything(site, lab, tries, None)


@pytest.mark.only_on("htcondor", "slurm", real=True)
def test_kill_9_of_everything(site: Site, lab: Lab, tries: Tries, request: pytest.FixtureRequest) -> None:
    kill_everything(site, lab, tries, request.config.getoption("--start-daemons", None))
