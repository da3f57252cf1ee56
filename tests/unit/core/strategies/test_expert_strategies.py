"""Three strategies as experts write them: what they decide, and that they can be replayed and run ahead."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies import (
    Commit,
    Execute,
    Execution,
    FinalState,
    Outcome,
    Report,
    StagedPayload,
    Strategy,
    WriteFile,
    load_strategy,
)
from airflow_provider_caf.core.strategies.ahead import LookAhead, list_parts
from airflow_provider_caf.core.strategies.drive import build_entries, drive_plan
from airflow_provider_caf.core.strategies.tickets import Ticket

FOLDER = Path(__file__).parents[3] / "strategies"
OK, THIN, FAILURE = ResultCode.OK, ResultCode.NOT_ENOUGH_DATA, ResultCode.FAILURE

SEEN = {"channels": [1], "entries": 10}

Calibrate = Callable[[Execute], tuple[ResultCode, Any]]


class Trace:
    """Writes down all that a plan does."""

    def __init__(
        self, strategy: Strategy, runs: list[ExpRun], calibrate: Calibrate, recorded: tuple[Execution, ...] = ()
    ) -> None:
        self.recorded = recorded
        self.answers: list[Execution] = []
        self.executed: list[Execute] = []
        self.commits: list[Commit] = []
        self.reports: list[Report] = []
        self.files: dict[str, Any] = {}
        self.calibrate = calibrate
        self.outcome: Outcome = drive_plan(
            strategy.plan(tuple(sorted(runs))),
            execute=self.execute,
            find_boundaries=lambda action: pytest.fail("asks for boundaries"),
            commit=self.commits.append,
            report=self.reports.append,
            write_file=self.write_file,
        )

    def execute(self, number: int, action: Execute) -> Execution:
        self.executed.append(action)
        if number < len(self.recorded):
            # As a checkpoint keeps it.
            done = Execution.from_json(json.loads(json.dumps(self.recorded[number].to_json())))
            self.answers.append(done)
            return done
        code, output = self.calibrate(action)
        payload = StagedPayload(name="Mask", revision="0" * 32, size=1)
        done = Execution(key=number, runs=action.runs, iov=action.iov, code=code, output=output, payloads=(payload,))
        self.answers.append(done)
        return done

    def write_file(self, action: WriteFile) -> None:
        assert action.name not in self.files
        self.files[action.name] = action.content

    @property
    def iovs(self) -> list[IoV]:
        return [entry.iov for commit in self.commits for entry in build_entries(commit)]

    @property
    def asked(self) -> list[tuple[list[int], Mapping[str, Any] | None]]:
        return [([run.run for run in each.runs], each.settings) for each in self.executed]


def make(name: str, cls: str, params: dict[str, Any]) -> Strategy:
    return load_strategy(f"{FOLDER / name}.py:{cls}")(params)


def see(channels: Mapping[int, set[int]], thin: Set[int]) -> Calibrate:
    """Give an algorithm that sees channels in each run; runs in `thin` do not suffice alone."""

    def calibrate(action: Execute) -> tuple[ResultCode, Any]:
        assert action.settings is not None
        numbers = {run.run for run in action.runs}
        seen = sorted(set[int]().union(*(channels[number] for number in numbers)))
        enough = action.settings["force"] or not numbers <= thin
        return (OK if enough else THIN), {"channels": seen, "entries": 10 * len(numbers)}

    return calibrate


def list_runs(*numbers: int, exp: int = 1) -> list[ExpRun]:
    return [ExpRun(exp, number) for number in numbers]


def merge(channels: Mapping[int, set[int]], thin: Set[int] = frozenset(), **params: Any) -> Trace:
    strategy = make("merge_by_content", "MergeByContent", params)
    return Trace(strategy, list_runs(*channels), see(channels, thin))


def test_each_run_is_executed_alone_first_and_nothing_is_committed_before_the_end() -> None:
    trace = merge({1: {1}, 2: {2}, 4: {3}})
    assert trace.asked == [([1], {"force": False}), ([2], {"force": False}), ([4], {"force": False})]
    assert trace.iovs == [IoV(1, 1, 1, 1), IoV(1, 2, 1, 3), IoV(1, 4, 1, 4)]
    assert trace.outcome.state is FinalState.COMPLETED
    assert len(trace.reports) == 3


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ({1: {1, 2}, 2: {2}, 3: {3}}, [IoV(1, 1, 1, 2), IoV(1, 3, 1, 3)]),
        ({1: {1}, 2: {2}, 3: {2, 3}}, [IoV(1, 1, 1, 1), IoV(1, 2, 1, 3)]),
    ],
)
def test_a_poor_run_is_merged_with_the_neighbour_whose_content_it_does_not_extend(
    channels: Mapping[int, set[int]], expected: list[IoV]
) -> None:
    assert merge(channels, {2}).iovs == expected


def test_a_poor_run_that_fits_nowhere_is_forced() -> None:
    trace = merge({1: {1}, 2: {7}, 3: {3}}, {2})
    assert trace.asked[-1] == ([2], {"force": True})
    assert trace.iovs == [IoV(1, 1, 1, 1), IoV(1, 2, 1, 2), IoV(1, 3, 1, 3)]


def test_a_single_poor_run_is_forced() -> None:
    assert merge({5: {1}}, {5}).iovs == [IoV(1, 5, 1, 5)]


def test_poor_runs_are_merged_until_they_suffice() -> None:
    trace = merge({1: {1}, 2: {1}, 3: {1}, 4: {1, 2}}, {1, 2, 3})
    assert trace.iovs == [IoV(1, 1, 1, 4)]


def test_equal_neighbours_become_one() -> None:
    trace = merge({1: {1}, 2: {1}, 3: {2}, 4: {1}})
    assert trace.iovs == [IoV(1, 1, 1, 2), IoV(1, 3, 1, 3), IoV(1, 4, 1, 4)]
    assert trace.files == {"channels.json": [["1,1,1,2", 1], ["1,3,1,3", 1], ["1,4,1,4", 1]]}


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        ([[1, 2]], [IoV(1, 1, 1, 1), IoV(1, 3, 1, 4)]),
        ([[1, 1]], [IoV(1, 2, 1, 4)]),
        ([[1, 4]], [IoV(1, 1, 1, 3)]),
        ([[1, 2], [1, 3]], [IoV(1, 1, 1, 1), IoV(1, 4, 1, 4)]),
        ([[2, 2]], [IoV(1, 1, 1, 4)]),
    ],
)
def test_excluded_runs_are_cut_out(excluded: list[list[int]], expected: list[IoV]) -> None:
    channels = {number: {1} for number in range(1, 5)}
    trace = merge(channels, excluded_runs=excluded)
    assert trace.iovs == expected


@pytest.mark.parametrize("code", [FAILURE, ResultCode.UNDEFINED])
@pytest.mark.parametrize("bad", [[1], [2], [3], [1, 2]])
def test_a_failure_is_not_hidden_by_merging(code: ResultCode, bad: list[int]) -> None:
    """An execution that fails has seen nothing, which fits to every neighbour; joined runs may fail too."""

    def calibrate(action: Execute) -> tuple[ResultCode, Any]:
        is_bad = [run.run for run in action.runs] == bad
        return (code, None) if is_bad else (OK, {"channels": [1], "entries": 10})

    trace = Trace(make("merge_by_content", "MergeByContent", {}), list_runs(1, 2, 3), calibrate)
    assert trace.outcome.state is FinalState.FAILED
    assert f"answered {code.name} for 1.{bad[0]} to 1.{bad[-1]}." in trace.outcome.reason
    assert (trace.commits, trace.reports, trace.files) == ([], [], {})


def test_a_forced_run_without_data_fails() -> None:
    trace = Trace(make("merge_by_content", "MergeByContent", {}), list_runs(1), lambda action: (THIN, SEEN))
    assert trace.asked == [([1], {"force": False}), ([1], {"force": True})]
    assert trace.outcome.reason == "The algorithm answered NOT_ENOUGH_DATA for 1.1 to 1.1, forced."
    assert trace.commits == []


def test_runs_that_suffice_alone_and_not_when_joined_are_told() -> None:
    def calibrate(action: Execute) -> tuple[ResultCode, Any]:
        return (THIN if len(action.runs) > 1 else OK), SEEN

    trace = Trace(make("merge_by_content", "MergeByContent", {}), list_runs(1, 2), calibrate)
    assert trace.outcome.reason == "The runs 1.1 to 1.2 suffice alone, and not when joined."
    assert trace.commits == []


def test_nothing_is_committed_before_the_last_experiment_is_known() -> None:
    def calibrate(action: Execute) -> tuple[ResultCode, Any]:
        return (FAILURE if action.runs[0].exp == 2 else OK), SEEN

    runs = [*list_runs(1), *list_runs(1, exp=2)]
    trace = Trace(make("merge_by_content", "MergeByContent", {}), runs, calibrate)
    assert len(trace.executed) == 2
    assert trace.commits == []


def test_a_run_with_few_entries_is_poor_although_the_algorithm_is_content() -> None:
    channels = {1: {1, 2}, 2: {2}, 4: {3}}
    assert len(merge(channels, entries=10).commits) == 3
    trace = merge(channels, entries=11)
    assert trace.asked[3:] == [([1], {"force": True}), ([1, 2], {"force": False}), ([4], {"force": True})]
    assert trace.iovs == [IoV(1, 1, 1, 3), IoV(1, 4, 1, 4)]


@pytest.mark.parametrize(
    ("channels", "iovs"),
    [
        ({1: {1}, 2: {2}, 3: {3}}, [IoV(1, 1, 1, 1), IoV(1, 2, 1, 2), IoV(1, 3, 1, 3)]),
        ({1: {1}, 5: {1}, 9: {1}}, [IoV(1, 1, 1, 9)]),
        ({1: {1}, 5: {2}, 9: {1}}, [IoV(1, 1, 1, 4), IoV(1, 5, 1, 8), IoV(1, 9, 1, 9)]),
    ],
)
def test_when_all_runs_are_poor_the_algorithm_is_forced(channels: Mapping[int, set[int]], iovs: list[IoV]) -> None:
    trace = merge(channels, set(channels))
    assert trace.iovs == iovs
    assert all(each.settings == {"force": True} for each in trace.executed[-len(iovs) :])


@pytest.mark.parametrize("excluded", [[], [[1, 1], [1, 2]]])
def test_no_run_is_an_error(excluded: list[list[int]]) -> None:
    strategy = make("merge_by_content", "MergeByContent", {"excluded_runs": excluded})
    trace = Trace(strategy, list_runs(1, 2) if excluded else [], see({}, set()))
    assert (trace.outcome.state, trace.executed) == (FinalState.FAILED, [])
    assert Trace(make("two_stages", "TwoStages", {}), [], count).outcome.state is FinalState.FAILED


def test_experiments_never_mix() -> None:
    strategy = make("merge_by_content", "MergeByContent", {})
    runs = [*list_runs(1), *list_runs(2, exp=2)]
    trace = Trace(strategy, runs, see({1: {1}, 2: {1}}, {1}))
    assert trace.iovs == [IoV(1, 1, 1, 1), IoV(2, 2, 2, 2)]


def count(action: Execute) -> tuple[ResultCode, Any]:
    return OK, {"entries": sum(run.run for run in action.runs), "input": action.input}


def test_two_stages_group_first_and_measure_each_group() -> None:
    trace = Trace(make("two_stages", "TwoStages", {"entries": 5}), list_runs(1, 2, 3, 4, 5), count)
    check, measure = {"stage": "check"}, {"stage": "measure"}
    assert trace.asked == [
        *(([number], check) for number in range(1, 6)),
        ([1, 2, 3], measure),
        ([4, 5], measure),
    ]
    assert trace.iovs == [IoV(1, 1, 1, 3), IoV(1, 4, 1, 5)]
    assert trace.files["group_1.json"] == {"entries": 9, "input": {"entries": 9}}


def test_two_stages_do_not_mix_experiments() -> None:
    runs = [*list_runs(1, 2), *list_runs(1, exp=2)]
    trace = Trace(make("two_stages", "TwoStages", {"entries": 100}), runs, count)
    assert trace.iovs == [IoV(1, 1, 1, 2), IoV(2, 1, 2, 1)]


def test_two_stages_keep_what_was_measured_before_a_failure() -> None:
    def calibrate(action: Execute) -> tuple[ResultCode, Any]:
        return (FAILURE if action.input and action.runs[0].run > 3 else OK), {"entries": 5}

    trace = Trace(make("two_stages", "TwoStages", {"entries": 5}), list_runs(1, 4), calibrate)
    assert trace.outcome.state is FinalState.FAILED
    assert trace.iovs == [IoV(1, 1, 1, 1)]


def test_an_experiment_can_have_settings_of_its_own() -> None:
    strategy = make("per_experiment", "PerExperiment", {"least": 3, "least_of": {"7": 1}})
    runs = [*list_runs(1, 2, exp=6), *list_runs(1, 2, exp=7)]

    def calibrate(action: Execute) -> tuple[ResultCode, Any]:
        assert action.settings is not None
        return (OK if len(action.runs) >= action.settings["least"] else THIN), {}

    trace = Trace(strategy, runs, calibrate)
    assert trace.asked == [
        ([1], {"least": 3}),
        ([1, 2], {"least": 3}),
        ([1], {"least": 1}),
        ([2], {"least": 1}),
    ]
    assert [iov.exp_low for iov in trace.iovs] == [7, 7]


def calibrate_some(action: Execute) -> tuple[ResultCode, Any]:
    """Answer for any of the three: runs divisible by 3 are thin, and each four runs see one channel."""
    settings = action.settings or {}
    numbers = {run.run for run in action.runs}
    is_thin = not settings.get("force") and all(number % 3 == 0 for number in numbers)
    output = {"entries": 4 * len(numbers), "channels": sorted({number // 4 for number in numbers}), "got": action.input}
    return (THIN if is_thin or len(numbers) < settings.get("least", 1) else OK), output


STRATEGIES: dict[str, tuple[str, dict[str, Any]]] = {
    "merge_by_content": ("MergeByContent", {"excluded_runs": [[1, 4], [2, 9]], "entries": 8}),
    "two_stages": ("TwoStages", {"entries": 9}),
    "per_experiment": ("PerExperiment", {"least": 2, "least_of": {"2": 1}}),
}
SCENARIOS = {
    "several experiments": [*list_runs(1, 2, 3, 4, 5), *list_runs(1, 9, exp=2), *list_runs(3, 5, exp=7)],
    "gaps": list_runs(1, 4, 5, 20, 21, 300),
    "all poor": list_runs(3, 6, 9),
    "one run": list_runs(7),
}


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_with_recorded_answers_it_asks_and_does_the_same_again(name: str, scenario: str) -> None:
    """Restart after every k executions, with one object: whatever it kept in itself would show."""
    strategy = make(name, *STRATEGIES[name])
    first = Trace(strategy, SCENARIOS[scenario], calibrate_some)
    assert first.answers
    for count_of_recorded in range(len(first.answers) + 1):
        live: list[Execute] = []

        def calibrate(action: Execute, live: list[Execute] = live) -> tuple[ResultCode, Any]:
            live.append(action)
            return calibrate_some(action)

        again = Trace(strategy, SCENARIOS[scenario], calibrate, tuple(first.answers[:count_of_recorded]))
        assert again.executed == first.executed
        assert (again.commits, again.reports, again.files) == (first.commits, first.reports, first.files)
        assert again.outcome == first.outcome
        assert live == first.executed[count_of_recorded:]


@pytest.mark.parametrize("name", ["merge_by_content", "two_stages"])
def test_single_runs_are_executed_ahead_four_at_a_time(name: str) -> None:
    """The strategy asks for all before it looks at one; a guess therefore gives work, and no wrong turn."""
    strategy = make(name, STRATEGIES[name][0], {})
    ahead = LookAhead(list_parts(strategy, tuple(list_runs(*range(1, 9)))), limit=4)
    known: dict[Ticket, Execution] = {}
    for first in (1, 5):
        running: dict[Ticket, Execute] = {}
        for _ in range(4):
            candidate = ahead.choose(known, set(running))
            assert candidate is not None
            assert isinstance(candidate.question, Execute)
            running[candidate.ticket] = candidate.question
        assert [run.run for each in running.values() for run in each.runs] == list(range(first, first + 4))
        for ticket, action in running.items():
            code, output = calibrate_some(action)
            known[ticket] = Execution(key=len(known), runs=action.runs, iov=action.iov, code=code, output=output)
            ahead.note_asked(ticket)
