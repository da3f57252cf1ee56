"""Calibrate with strategies of its own: one that merges poor runs, and one with settings for each experiment."""

# mypy: ignore-errors

from caf.state_machines import AlgorithmMachine
from caf.strategies import AlgorithmStrategy, SequentialRunByRun, StrategyError
from caf.utils import AlgResult, IoV, iov_from_runs, runs_from_vector, runs_overlapping_iov, split_runs_by_exp
from prompt import CalibrationSettings

import basf2 as b2

settings = CalibrationSettings(
    name="Custom Strategy",
    expert_username="expert",
    description=__doc__,
    input_data_formats=["cdst"],
    input_data_names=["mumu"],
    depends_on=[],
    expert_config={"min_entries": 10, "min_entries_exp": {"7": 5}, "min_entries_per_run": 30},
)

GOOD = (AlgResult.ok.value, AlgResult.iterate.value)


class Chunk:
    """Runs of one experiment that were executed together, and what came out."""

    def __init__(self, runs):
        self.runs = list(runs)
        self.result = None
        self.values = None
        self.payloads = None

    @property
    def is_good(self):
        """Whether there are constants."""
        return self.result.result in GOOD


class MergePoorRuns(AlgorithmStrategy):
    """Execute each run alone, then merge those with few entries with a neighbour. Commit when all is known."""

    usable_params = {"iov_coverage": IoV, "min_entries_per_run": int}  # noqa: RUF012 - as the reference has it
    allowed_granularities = ["run"]  # noqa: RUF012

    def __init__(self, algorithm):
        super().__init__(algorithm)
        self.machine = AlgorithmMachine(self.algorithm)
        self.first_execution = True

    def run(self, iov, iteration, queue):
        """Calibrate all runs inside an IoV, or all there are."""
        if not self.is_valid():
            raise StrategyError("The strategy MergePoorRuns was not set up.")
        self.queue = queue
        self.set_up_machine(iteration)
        collected = set(runs_from_vector(self.algorithm.algorithm.getRunListFromAllData()))
        runs = set(runs_overlapping_iov(iov, collected)) if iov else collected
        runs.difference_update(set(self.ignored_runs or ()))
        b2.B2INFO(f"{len(runs)} of {len(collected)} runs are calibrated by {self.__class__.__name__}.")

        chunks = []
        for experiment_runs in split_runs_by_exp(sorted(runs)):
            chunks += self.process_experiment(experiment_runs, iteration)
        self.commit_chunks(chunks)
        is_done = bool(chunks) and all(chunk.is_good for chunk in chunks)
        self.send_final_state(self.COMPLETED if is_done else self.FAILED)

    def set_up_machine(self, iteration):
        """Hand what the framework has set on to the machine, and let it get ready."""
        names = (
            "database_chain",
            "dependent_databases",
            "output_dir",
            "output_database_dir",
            "input_files",
            "ignored_runs",
        )
        self.machine.setup_from_dict({name: getattr(self, name) for name in names})
        self.machine.setup_algorithm(iteration=iteration)

    def process_experiment(self, runs, iteration):
        """Give the chunks of one experiment, in order."""
        chunks = [self.execute([run], iteration) for run in runs]
        while len(chunks) > 1:
            poor = [number for number, chunk in enumerate(chunks) if self.is_poor(chunk)]
            if not poor:
                break
            first = min(poor[0], len(chunks) - 2)
            pair = chunks[first : first + 2]
            b2.B2INFO(f"Merging {pair[0].runs} with {pair[1].runs}.")
            chunks[first : first + 2] = [self.execute(pair[0].runs + pair[1].runs, iteration)]
        return chunks

    def execute(self, runs, iteration):
        """Execute the algorithm on some runs, and keep copies of what it has: the next execution overwrites it."""
        if not self.first_execution:
            self.machine.setup_algorithm(iteration=iteration)
        self.first_execution = False
        self.machine.execute_runs(runs=runs, iteration=iteration, apply_iov=None)
        algorithm = self.machine.algorithm.algorithm
        chunk = Chunk(runs)
        chunk.result = self.machine.result
        chunk.values = type(algorithm).Results(algorithm.getResults())
        if chunk.is_good:
            chunk.payloads = algorithm.getPayloadValues()
            self.machine.complete()
        else:
            self.machine.fail()
        return chunk

    def is_poor(self, chunk):
        """Tell whether a chunk needs more data. A failure is none that more data mend."""
        if chunk.result.result == AlgResult.not_enough_data.value:
            return True
        return chunk.is_good and chunk.values.getEntries() < self.algorithm.params["min_entries_per_run"]

    def commit_chunks(self, chunks):
        """Let the payloads of each chunk hold until the next one begins, and commit them."""
        from ROOT import Belle2

        coverage = self.algorithm.params.get("iov_coverage")
        for number, chunk in enumerate(chunks):
            if not chunk.is_good:
                self.send_result(chunk.result)
                continue
            exp_low, run_low = chunk.runs[0]
            exp_high, run_high = iov_from_runs(chunk.runs)[2:]
            if number == 0 and coverage:
                exp_low, run_low = coverage.exp_low, coverage.run_low
            if number + 1 == len(chunks):
                if coverage:
                    exp_high, run_high = coverage.exp_high, coverage.run_high
            elif chunks[number + 1].runs[0].exp == exp_high:
                run_high = chunks[number + 1].runs[0].run - 1
            else:
                run_high = -1
            chunk.payloads.front().iov = Belle2.IntervalOfValidity(exp_low, run_low, exp_high, run_high)
            b2.B2INFO(f"Mean {chunk.values.getMean():.4f} of {chunk.values.getEntries()} entries: {chunk.runs}.")
            self.machine.algorithm.algorithm.commit(chunk.payloads)
            self.send_result(chunk.result)


class ByExperiment(SequentialRunByRun):
    """Ask for another number of entries in some experiments."""

    usable_params = {  # noqa: RUF012
        **SequentialRunByRun.usable_params,
        "min_entries": int,
        "min_entries_exp": dict,
    }

    def apply_experiment_settings(self, algorithm, experiment):
        """Set how many entries this experiment needs."""
        special = self.algorithm.params["min_entries_exp"]
        algorithm.setMinEntries(special.get(str(experiment), self.algorithm.params["min_entries"]))


def get_calibrations(input_data, **kwargs):
    """Give one calibration with two algorithms, each with a strategy of its own."""
    from caf.framework import Calibration
    from ROOT.Belle2 import TestCalibrationAlgorithm

    config = kwargs["expert_config"]
    requested = kwargs["requested_iov"]
    output_iov = IoV(requested.exp_low, requested.run_low, -1, -1)

    collector = b2.register_module("CaTest")
    collector.param("granularity", "run")
    merged, sequential = TestCalibrationAlgorithm(), TestCalibrationAlgorithm()
    merged.setMinEntries(config["min_entries"])
    merged.setPayloadName("TestMergedMean")
    sequential.setPayloadName("TestSequentialMean")

    calibration = Calibration(
        "TestStrategies",
        collector=collector,
        algorithms=[merged, sequential],
        input_files=sorted(input_data["mumu"]),
        max_files_per_collector_job=2,
    )
    calibration.algorithms[0].strategy = MergePoorRuns
    calibration.algorithms[0].params = {
        "iov_coverage": output_iov,
        "min_entries_per_run": config["min_entries_per_run"],
    }
    calibration.algorithms[1].strategy = ByExperiment
    calibration.algorithms[1].params = {
        "has_experiment_settings": True,
        "iov_coverage": output_iov,
        "min_entries": config["min_entries"],
        "min_entries_exp": config["min_entries_exp"],
    }
    return [calibration]
