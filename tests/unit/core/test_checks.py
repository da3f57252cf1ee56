from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_caf.core.calibration import (
    AlgorithmRecord,
    CafRecord,
    CalibrationRecord,
    CollectionRecord,
    Member,
    StepRecord,
    check_caf,
    find_mistakes,
)
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.splitting import Splitting

COLLECTION = CollectionRecord(name="default", collector="detector:Hits", input_files=("/data/*.root",))
ALGORITHM = AlgorithmRecord(name="fit", algorithm="detector:Fit")


def calibration(name: str = "vertex", **changes: Any) -> CalibrationRecord:
    made = CalibrationRecord(name=name, collections=(COLLECTION,), algorithms=(ALGORITHM,))
    return replace(made, **changes)


def caf(*calibrations: Member, **changes: Any) -> CafRecord:
    return replace(CafRecord(name="demo", calibrations=calibrations or (calibration(),)), **changes)


def with_collection(**changes: Any) -> CafRecord:
    return caf(calibration(collections=(replace(COLLECTION, **changes),)))


def with_algorithm(**changes: Any) -> CafRecord:
    return caf(calibration(algorithms=(replace(ALGORITHM, **changes),)))


def test_a_good_definition_passes() -> None:
    check_caf(
        caf(
            calibration("a", max_iterations=0),
            calibration(
                "b",
                depends_on=("a",),
                collections=(
                    COLLECTION,
                    replace(COLLECTION, name="more", collector=None, command=("collect", "")),
                    replace(
                        COLLECTION,
                        name="generated",
                        input_files=(),
                        splitting=Splitting(arguments=({"seed": 1},), max_subjobs=1),
                        pre_collector={"function": "detector:before"},
                    ),
                    replace(COLLECTION, name="other", pre_collector={"command": ["make", "ready"]}),
                ),
                algorithms=(
                    replace(ALGORITHM, strategy="SequentialRunByRun", params={"step_size": 2}),
                    replace(ALGORITHM, name="own", strategy="mine:S", params={"anything": 1}),
                    replace(ALGORITHM, name="templated", strategy="SingleIOV", algorithm="{{ params.a }}"),
                    replace(ALGORITHM, name="before", pre_algorithm="detector:before", prefix="Hits"),
                ),
            ),
        )
    )


BAD: list[tuple[CafRecord, str, str, tuple[Any, ...]]] = [
    (caf(name="a b"), "'a b' cannot be the name of a CAF", "'a_b' would do", ("name",)),
    (
        CafRecord(name="demo", calibrations=()),
        "The CAF 'demo' has no calibration",
        "Add one",
        ("calibrations",),
    ),
    (
        caf(calibration("a"), calibration("a")),
        "There are two calibrations named 'a'",
        "Rename one",
        ("calibrations", 1, "name"),
    ),
    (
        caf(calibration("../a")),
        "'../a' cannot be the name of a calibration",
        "'a' would do",
        ("calibrations", 0, "name"),
    ),
    (
        caf(calibration("beamspot"), calibration("vertex", depends_on=("beamsport",))),
        "Calibration 'vertex' depends on 'beamsport', which does not exist",
        "Did you mean 'beamspot'?",
        ("calibrations", 1, "depends_on", 0),
    ),
    (
        caf(calibration("a", depends_on=("b",)), calibration("b", depends_on=("a",))),
        "in a circle: a → b → a",
        "Take one of these",
        ("calibrations",),
    ),
    (
        caf(calibration(max_iterations=-1)),
        "Calibration 'vertex' has max_iterations -1",
        "from 0 (one pass only) to 100",
        ("calibrations", 0, "max_iterations"),
    ),
    (
        caf(calibration(max_iterations=101)),
        "has max_iterations 101",
        "to 100",
        ("calibrations", 0, "max_iterations"),
    ),
    (
        caf(calibration(max_iterations=True)),
        "has max_iterations True",
        "whole",
        ("calibrations", 0, "max_iterations"),
    ),
    (
        caf(calibration(max_iterations=1.0)),
        "has max_iterations 1.0",
        "whole",
        ("calibrations", 0, "max_iterations"),
    ),
    (
        caf(calibration(collections=())),
        "Calibration 'vertex' has no collection",
        "Add one",
        ("calibrations", 0, "collections"),
    ),
    (
        caf(calibration(algorithms=())),
        "Calibration 'vertex' has no algorithm",
        "Add one",
        ("calibrations", 0, "algorithms"),
    ),
    (
        caf(calibration(collections=(COLLECTION, COLLECTION))),
        "There are two collections named 'default' in calibration 'vertex'",
        "Rename one",
        ("calibrations", 0, "collections", 1, "name"),
    ),
    (
        caf(calibration(algorithms=(ALGORITHM, ALGORITHM))),
        "There are two algorithms named 'fit' in calibration 'vertex'",
        "Rename one",
        ("calibrations", 0, "algorithms", 1, "name"),
    ),
    (
        caf(calibration(backend_args={"a": object()})),
        "The backend_args of calibration 'vertex'['a'] holds",
        "Use null",
        ("calibrations", 0, "backend_args"),
    ),
    (caf(backend_args={1: 2}), "The backend_args of the CAF has the key 1", "strings", ("backend_args",)),
]

DEFAULT = "collection 'default' of calibration 'vertex'"
BAD_COLLECTIONS: list[tuple[dict[str, Any], str, str, tuple[Any, ...]]] = [
    ({"name": "$(id)"}, "'$(id)' cannot be the name of a collection", "'id' would do", ("name",)),
    (
        {"name": "decide"},
        "No collection of calibration 'vertex' can be named 'decide'",
        "Rename",
        ("name",),
    ),
    ({"name": "fit"}, "an algorithm and a collection named 'fit'", "side by side", ()),
    *(
        (
            {"max_subjob_retries": value},
            f"max_subjob_retries of {DEFAULT} is {value!r}",
            "from 0 (one try only) to 100",
            ("max_subjob_retries",),
        )
        for value in (-1, 101, 1.0, True, None)
    ),
    *(
        (
            {"max_failed_subjobs": value},
            f"max_failed_subjobs of {DEFAULT} is {value!r}",
            "share below 1",
            ("max_failed_subjobs",),
        )
        for value in (-1, 1.0, True, None, "all")
    ),
    ({"collector": None}, "has neither a collector nor a command", "Give one", ()),
    ({"command": ("x",)}, "has both a collector and a command", "Give one", ()),
    ({"collector": "Hits"}, "The collector of collection 'default'", "package.module:Name", ("collector",)),
    (
        {"collector": 3},
        "The collector of collection 'default' of calibration 'vertex' is 3",
        "text",
        ("collector",),
    ),
    ({"collector": None, "command": ()}, "The command of collection 'default'", "No shell", ("command",)),
    ({"collector": None, "command": ("", "x")}, "The command of collection", "program", ("command",)),
    ({"collector": None, "command": ("a", 3)}, "The command of collection", "words", ("command",)),
    ({"collector": None, "command": ("a", "b\0")}, "The command of collection", "words", ("command",)),
    (
        {"input_files": ()},
        "collection 'default' of calibration 'vertex' has no input files",
        "patterns",
        ("input_files",),
    ),
    ({"granularity": "runs"}, "has the granularity 'runs'", "Did you mean 'run'?", ("granularity",)),
    ({"output_patterns": ()}, "declares no output", "output_patterns", ("output_patterns",)),
    ({"output_patterns": ("../x",)}, "The output pattern '../x'", "relative", ("output_patterns",)),
    ({"output_patterns": ("/x",)}, "The output pattern '/x'", "relative", ("output_patterns",)),
    ({"output_patterns": ("",)}, "The output pattern ''", "relative", ("output_patterns",)),
    (
        {"pre_collector": {}},
        "The pre_collector of collection 'default'",
        "either 'function'",
        ("pre_collector",),
    ),
    ({"pre_collector": {"function": "x"}}, "The pre_collector of", "package.module:Name", ("pre_collector",)),
    ({"pre_collector": {"command": "rm x"}}, "is 'rm x'", "list of words", ("pre_collector",)),
    ({"settings": {"a": {1}}}, "The settings of collection 'default'", "Use null", ("settings",)),
    ({"backend_args": {"a": {1}}}, "The backend_args of collection 'default'", "Use null", ("backend_args",)),
]

BAD_ALGORITHMS: list[tuple[dict[str, Any], str, str, tuple[Any, ...]]] = [
    ({"name": "it's"}, '"it\'s" cannot be the name of an algorithm', "'it_s' would do", ("name",)),
    ({"name": "decide"}, "No algorithm of calibration 'vertex' can be named 'decide'", "Rename", ("name",)),
    ({"algorithm": "Fit"}, "The class of algorithm 'fit'", "package.module:Name", ("algorithm",)),
    ({"prefix": "a/b"}, "'a/b' cannot be the name of a collector prefix", "'a_b' would do", ("prefix",)),
    ({"pre_algorithm": "x"}, "The pre_algorithm of algorithm 'fit'", "package.module", ("pre_algorithm",)),
    ({"settings": {"a": b""}}, "The settings of algorithm 'fit'", "Use null", ("settings",)),
    ({"params": {"apply_iov": float("nan")}}, "The params of algorithm 'fit'", "finite", ("params",)),
    (
        {"strategy": "SingleIov"},
        "There is no strategy 'SingleIov'",
        "Did you mean 'SingleIOV'?",
        ("strategy",),
    ),
    ({"strategy": "a b:S"}, "The strategy of algorithm 'fit'", "package.module:Name", ("strategy",)),
    (
        {"params": {"iov_coverage": [0, 0, -1, -1]}},
        "In algorithm 'fit' of calibration 'vertex': The strategy SingleIOV has no parameter 'iov_coverage'",
        "Known parameters: apply_iov",
        ("params", "iov_coverage"),
    ),
    (
        {"params": {"apply_iov": "x"}},
        "The parameter 'apply_iov' of the strategy SingleIOV is 'x'",
        "It has to be an IoV",
        ("params", "apply_iov"),
    ),
    ({"workers": 0}, "workers of algorithm", "a whole number, at least 1", ("workers",)),
    ({"workers": True}, "workers of algorithm", "a whole number, at least 1", ("workers",)),
    ({"cpus": 1.5}, "cpus of algorithm", "a whole number, at least 1", ("cpus",)),
    ({"execution_timeout": -1}, "execution_timeout of algorithm", "a number above 0, or None", ("execution_timeout",)),
    ({"execution_timeout": float("nan")}, "execution_timeout of algorithm", "a number above 0", ("execution_timeout",)),
    ({"memory_growth": 0}, "memory_growth of algorithm", "at least 1, or None", ("memory_growth",)),
    ({"run_ahead": 1}, "run_ahead of algorithm", "True or False", ("run_ahead",)),
    ({"keep_executions": "yes"}, "keep_executions of algorithm", "True or False", ("keep_executions",)),
    ({"fill_gaps": None}, "fill_gaps of algorithm", "True or False", ("fill_gaps",)),
]


def check_one(record: CafRecord, what: str, hint: str, where: tuple[Any, ...]) -> None:
    fitting = [error for error in find_mistakes(record) if what in str(error)]
    assert len(fitting) == 1, [str(error) for error in find_mistakes(record)]
    assert hint in (fitting[0].hint or "")
    assert fitting[0].where == where
    with pytest.raises(DefinitionError) as caught:
        check_caf(record)
    assert what in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(("record", "what", "hint", "where"), BAD, ids=lambda value: str(value)[:40])
def test_mistakes(record: CafRecord, what: str, hint: str, where: tuple[Any, ...]) -> None:
    check_one(record, what, hint, where)


@pytest.mark.parametrize(("changes", "what", "hint", "where"), BAD_COLLECTIONS, ids=lambda value: str(value)[:40])
def test_mistakes_in_a_collection(changes: Any, what: str, hint: str, where: tuple[Any, ...]) -> None:
    place = ("calibrations", 0, "collections", 0)
    if what.startswith("an algorithm and"):
        place, where = ("calibrations", 0, "algorithms", 0), ("name",)
    check_one(with_collection(**changes), what, hint, (*place, *where))


@pytest.mark.parametrize(("changes", "what", "hint", "where"), BAD_ALGORITHMS, ids=lambda value: str(value)[:40])
def test_mistakes_in_an_algorithm(changes: Any, what: str, hint: str, where: tuple[Any, ...]) -> None:
    check_one(with_algorithm(**changes), what, hint, ("calibrations", 0, "algorithms", 0, *where))


class TestGranularity:
    ALL = replace(COLLECTION, granularity="all")
    RUN = replace(COLLECTION, name="second", granularity="run")

    @pytest.mark.parametrize("strategy", ["SequentialRunByRun", "SimpleRunByRun", "SequentialBoundaries"])
    def test_all_with_a_run_wise_strategy(self, strategy: str) -> None:
        record = caf(calibration(collections=(self.ALL,), algorithms=(replace(ALGORITHM, strategy=strategy),)))
        with pytest.raises(DefinitionError) as caught:
            check_caf(record)
        text = str(caught.value)
        assert f"Algorithm 'fit' of calibration 'vertex' uses the strategy {strategy}" in text
        assert "its collection 'default' has the granularity 'all'" in text
        assert "Collect with the granularity 'run', or use the strategy SingleIOV" in text
        assert caught.value.where == ("calibrations", 0, "algorithms", 0, "strategy")

    @pytest.mark.parametrize("strategy", ["SingleIOV", "mine:S"])
    def test_all_with_a_strategy_that_may(self, strategy: str) -> None:
        record = caf(calibration(collections=(self.ALL,), algorithms=(replace(ALGORITHM, strategy=strategy),)))
        assert find_mistakes(record) == ()

    def test_with_a_prefix_the_algorithm_may_read_the_other_collection(self) -> None:
        algorithm = replace(ALGORITHM, strategy="SimpleRunByRun", prefix="Hits")
        both = caf(calibration(collections=(self.ALL, self.RUN), algorithms=(algorithm,)))
        assert find_mistakes(both) == ()
        without = caf(calibration(collections=(self.ALL, self.RUN), algorithms=(replace(algorithm, prefix=None),)))
        assert len(find_mistakes(without)) == 1
        only = caf(calibration(collections=(self.ALL,), algorithms=(algorithm,)))
        assert len(find_mistakes(only)) == 1


def test_a_calibration_that_depends_on_itself() -> None:
    with pytest.raises(DefinitionError, match="in a circle: a → a"):
        check_caf(caf(calibration("a", depends_on=("a",))))


def test_all_mistakes_at_once_one_per_line() -> None:
    record = caf(
        calibration("a", depends_on=("zzz",), max_iterations=-1, algorithms=()),
        calibration("a/b", collections=(replace(COLLECTION, input_files=()),)),
    )
    with pytest.raises(DefinitionError) as caught:
        check_caf(record)
    lines = str(caught.value).splitlines()
    assert lines[0] == "5 mistakes in the CAF 'demo':"
    assert len(lines) == 6
    assert all(line.startswith("- ") and "hint: " in line for line in lines[1:])
    assert len(caught.value.causes) == 5


def find(record: CafRecord) -> list[tuple[str, tuple[Any, ...]]]:
    return [(mistake.what, mistake.where) for mistake in find_mistakes(record)]


def test_algorithms_without_a_collection_need_someone_to_depend_on() -> None:
    assert find(caf(calibration(), calibration("merged", collections=(), depends_on=("vertex",)))) == []
    ((what, where),) = find(caf(calibration(collections=())))
    assert (what, where) == ("Calibration 'vertex' has no collection.", ("calibrations", 0, "collections"))


def test_a_boundary_at_an_ignored_run_is_a_mistake() -> None:
    algorithm = replace(ALGORITHM, strategy="SequentialBoundaries", params={"payload_boundaries": [[1, 3], [1, 5]]})
    ((what, where),) = find(caf(calibration(algorithms=(algorithm,), ignored_runs=(ExpRun(1, 5), ExpRun(1, 6)))))
    assert "has a boundary at run 1.5, which is in ignored_runs" in what
    assert where == ("calibrations", 0, "algorithms", 0, "params", "payload_boundaries")


def test_a_boundary_that_is_no_run_is_the_only_mistake() -> None:
    algorithm = replace(ALGORITHM, strategy="SequentialBoundaries", params={"payload_boundaries": [4, None]})
    ((what, _),) = find(caf(calibration(algorithms=(algorithm,))))
    assert "The parameter 'payload_boundaries' of the strategy SequentialBoundaries is [4, None]" in what


def test_a_template_may_stand_for_a_parameter_that_the_strategy_has() -> None:
    assert find(with_algorithm(params={"apply_iov": "{{ params.iov }}"})) == []
    assert find(with_algorithm(params={"apply_iov": [1, 0, "{{ params.exp }}", -1]})) == []
    ((what, _),) = find(with_algorithm(params={"iov_coverage": "{{ params.iov }}"}))
    assert "The strategy SingleIOV has no parameter 'iov_coverage'" in what


@pytest.mark.parametrize(
    ("budget", "splitting", "what"),
    [
        (0, Splitting(), "job_budget is 0, but 1 collections share it."),
        ("5", Splitting(), "job_budget is '5', but 1 collections share it."),
        (5, Splitting(max_collector_jobs=2), "job_budget has no effect: every collection has a splitting of its own."),
        (1, Splitting(), None),
    ],
)
def test_a_budget_has_to_suffice_and_to_have_an_effect(budget: Any, splitting: Splitting, what: str | None) -> None:
    record = replace(with_collection(splitting=splitting), job_budget=budget)
    assert [mistake for mistake, _ in find(record)] == ([] if what is None else [what])


def test_steps_that_collect_nothing_are_checked_too() -> None:
    good = StepRecord(name="earlier", kind="imported_payloads", options={"folder": "/x"})
    assert find(caf(good, calibration(depends_on=("earlier",)))) == []
    wrong = StepRecord(name="join", kind="imported", options={"folder": object()}, depends_on=("nobody",))
    found = [what for what, _ in find(caf(wrong))]
    assert "A calibration cannot be named 'join'." in found
    assert "The step 'join' is of the kind 'imported'." in found
    assert "Calibration 'join' depends on 'nobody', which does not exist." in found
    assert any("options of 'join'" in what for what in found)


def test_a_file_map_is_input() -> None:
    assert find(with_collection(input_files=(), filemaps=("/map.json",))) == []
