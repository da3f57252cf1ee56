"""An algorithm of a calibration script: the experiment's C++ class behind our own interface.

The process calls the script again with its recorded arguments and takes one algorithm of one calibration. So whatever
the script has set on it, closures too, is there. Payloads are committed into a folder of the process's own after each
execution, and handed in from there: what becomes of them the strategy decides.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.chain import LOCAL
from airflow_provider_caf.core.errors import CafError, DatabaseError, DefinitionError
from airflow_provider_caf.core.file_names import DATABASE_FILE
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.payloads import PayloadEntry, parse_database
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.temporary import build_temporary_name
from airflow_provider_caf.worker.algorithm.algorithm import Algorithm
from airflow_provider_caf.worker.basf2.dropin.caf.utils import vector_from_runs
from airflow_provider_caf.worker.basf2.script import ScriptArguments, call_script, load_script
from airflow_provider_caf.worker.basf2.software import find_software
from airflow_provider_caf.worker.basf2.steering import set_conditions
from airflow_provider_caf.worker.basf2.strategy_results import StrategyResults
from airflow_provider_caf.worker.programs import enter_folder
from airflow_provider_caf.worker.root import load_root

COMMITTED_FOLDER = "committed"
"""Where processes commit, each into a folder of its own, until the payloads are handed in."""


class ScriptAlgorithm(Algorithm):
    """Run one algorithm of a calibration script."""

    arguments: str = ""
    """The file with the script's recorded arguments."""

    calibration: str = ""
    """The name of the calibration, as the script says it."""

    number: int = 0
    """Which of its algorithms, from 0."""

    runs_strategy: bool = False
    """Whether the strategy is the script's own, and runs here as a whole."""

    def __init__(self) -> None:
        self._wrapped: Any = None
        self._committed = Path()
        self._known_lines = 0

    @property
    def cpp(self) -> Any:
        """The C++ algorithm."""
        return self._wrapped.algorithm

    def load(self) -> None:
        """Call the script, and get constants and input ready. It happens once."""
        if self._wrapped is not None:
            return
        arguments = ScriptArguments.read(self.arguments)
        tell_software(arguments.software, find_software())
        module = load_script(arguments)
        calibrations = {calibration.name: calibration for calibration in call_script(module, arguments)}
        if self.calibration not in calibrations or self.number >= len(calibrations[self.calibration].algorithms):
            raise DefinitionError(
                f"{arguments.script} gives no algorithm {self.number} of a calibration {self.calibration!r} any more.",
                hint="The script has changed, or chooses at random: import it again.",
            )
        self._wrapped = calibrations[self.calibration].algorithms[self.number]
        self._committed = Path(COMMITTED_FOLDER, build_temporary_name()).absolute()
        self._committed.mkdir(parents=True)
        conditions = importlib.import_module("basf2").conditions
        set_conditions(conditions, self._session.constants.chain, new_payloads=self._committed / DATABASE_FILE)
        self._wrapped.data_input([path for paths in self.output_files.values() for path in paths])

    def run_before(self) -> None:
        """Run the script's function that wants to be run before the algorithm. It may change the collected files.

        A strategy of the script's own does so itself, when its machine is set up: twice would change them twice.
        """
        self.load()
        if not self.runs_strategy:
            self._wrapped.pre_algorithm(self.cpp, self.iteration)

    def open_collected(self) -> None:
        """Call the script, if `pre_algorithm` has not done so already."""
        self.load()

    def find_collected_runs(self) -> tuple[ExpRun, ...]:
        """Ask the algorithm."""
        return read_runs(self.cpp.getRunListFromAllData())

    def close_collected(self) -> None:
        """Remove what was committed: it has been handed in."""
        shutil.rmtree(self._committed, ignore_errors=True)

    def calibrate(self) -> ResultCode | int:
        """Execute the C++ algorithm on the runs of this execution, or run the script's strategy over them."""
        if self.runs_strategy:
            return self._run_strategy()
        cpp = self.cpp
        if self.input is not None and not cpp.loadInputJson(json.dumps(self.input)):
            raise CafError(f"The {self._session.what} refuses the input {self.input!r}.", hint="Look at the strategy.")
        iov = load_root().Belle2.IntervalOfValidity(*self.iov)
        code = ResultCode(int(cpp.execute(vector_from_runs(self.runs), self.iteration, iov)))
        if code in (ResultCode.OK, ResultCode.ITERATE):
            # Without payloads it gives false, which is no mistake.
            cpp.commit()
            self._hand_in()
        self.output = read_output(cpp)
        return code

    def prepare_boundaries(self, runs: tuple[ExpRun, ...]) -> None:
        """Ask the C++ algorithm for the boundaries of these runs."""
        found = self.cpp.findPayloadBoundaries(vector_from_runs(runs), self.iteration)
        self._boundaries = set(read_runs(found))

    def is_boundary_required(self, run: ExpRun) -> bool:
        """Return whether the C++ algorithm found a boundary at this run."""
        return run in self._boundaries

    def _hand_in(self, *, keep_iovs: bool = False) -> None:
        """Take over what was committed since the last time."""
        lines = read_committed(self._committed / DATABASE_FILE)
        fresh, self._known_lines = lines[self._known_lines :], len(lines)
        for line in fresh:
            own = None if line.iov == self.iov and not keep_iovs else line.iov
            self._session.stage_file(self._committed / line.file_name, line.name, own)

    def _run_strategy(self) -> ResultCode:
        """Run a strategy of the script's own from its beginning to its end.

        It commits by itself, with IoVs of its own. What it reports becomes the output of this one execution.
        """
        strategy = self._wrapped.strategy(self._wrapped)
        queue = StrategyResults()
        output_folder = Path("files").absolute()
        output_folder.mkdir(exist_ok=True)
        strategy.setup_from_dict(
            {
                "database_chain": self._build_chain(),
                "dependent_databases": [],
                "output_dir": str(output_folder),
                "output_database_dir": self._committed,
                "input_files": [path for paths in self.output_files.values() for path in paths],
                "ignored_runs": self._list_ignored_runs(),
            }
        )
        # The strategy's machine goes into its folder, and stays there.
        with enter_folder(Path.cwd()):
            strategy.run(None, self.iteration, queue)
        self._hand_in(keep_iovs=True)
        self.output = {"results": queue.results, "final_state": queue.final_state}
        return ResultCode.OK if queue.final_state == strategy.COMPLETED else ResultCode.FAILURE

    def _build_chain(self) -> list[Any]:
        """Return the database chain in the classes of `caf`, where the last entry counts first."""
        utils = importlib.import_module("caf.utils")
        return [
            utils.LocalDatabase(str(Path(entry.value, DATABASE_FILE)))
            if entry.kind == LOCAL
            else utils.CentralDatabase(entry.value)
            for entry in reversed(tuple(self._session.constants.chain))
        ]

    def _list_ignored_runs(self) -> list[Any]:
        """Return the collected runs that this calibration leaves out, for whatever reason."""
        run_class = importlib.import_module("caf.utils").ExpRun
        return [run_class(*run) for run in self.collected_runs if run not in set(self.runs)]


def tell_software(described: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Print which software runs the algorithm, and where it is not that in which the script was described."""
    for name in dict.fromkeys((*here, *described)):
        line = f"{name}: {here.get(name)}"
        if described and described.get(name) != here.get(name):
            line += f" (warning: when the script was described it was {described.get(name)})"
        sys.stdout.write(line + "\n")


def run_pre_algorithm(algorithm: ScriptAlgorithm) -> None:
    """Run the script's own `pre_algorithm`. The files in `output_files` are copies by then."""
    algorithm.run_before()


def read_runs(vector: Iterable[Any]) -> tuple[ExpRun, ...]:
    """Return the runs of a C++ vector."""
    return tuple(ExpRun(int(pair.first), int(pair.second)) for pair in vector)


def read_output(cpp: Any) -> Any:
    """Return what an algorithm has put into its JSON output.

    :raises DefinitionError: if it is no JSON.
    """
    text = str(cpp.dumpOutputJson())
    try:
        return json.loads(text) if text and text != "null" else {}
    except ValueError as error:
        raise DefinitionError(f"The algorithm's output is no JSON: {text[:200]!r}: {error}.") from error


def read_committed(path: Path) -> tuple[PayloadEntry, ...]:
    """Return the lines of the database into which the software commits.

    :raises DatabaseError: if it cannot be read.
    """
    if not path.exists():
        return ()
    try:
        return parse_database(path.read_text("utf-8"), str(path))
    except (OSError, ValueError) as error:
        raise DatabaseError(f"The payloads in {path} cannot be read: {error}.", hint="Is the disk full?") from error
