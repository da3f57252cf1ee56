"""What the words of a definition say about one another, and what no word may say."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.definitions.caf import CAF

COLLECTION: dict[str, Any] = {"collector": "detector:Hits", "input_files": ["/data/*.root"]}
ALGORITHM: dict[str, Any] = {"name": "fit", "algorithm": "detector:Fit"}


def calibration(name: str = "vertex", **changes: Any) -> dict[str, Any]:
    return {"name": name, "collections": {"default": COLLECTION}, "algorithms": [ALGORITHM], **changes}


def caf(*calibrations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"name": "demo", "calibrations": list(calibrations or (calibration(),)), **changes}


def with_collection(**changes: Any) -> dict[str, Any]:
    name = changes.pop("name", "default")
    return caf(calibration(collections={name: {**COLLECTION, **changes}}))


def with_algorithm(**changes: Any) -> dict[str, Any]:
    return caf(calibration(algorithms=[{**ALGORITHM, **changes}]))


def find_mistakes(definition: dict[str, Any]) -> tuple[DefinitionError, ...]:
    """Return the mistakes that reading and resolving a definition finds."""
    try:
        CAF.from_json(definition).resolve()
    except DefinitionError as error:
        return error.causes or (error,)
    return ()


def check_caf(definition: dict[str, Any]) -> None:
    CAF.from_json(definition).resolve()


def test_a_good_definition_passes() -> None:
    check_caf(
        caf(
            calibration("a", max_iterations=0),
            calibration(
                "b",
                depends_on=["a"],
                collections={
                    "default": COLLECTION,
                    "more": {**COLLECTION, "collector": ["collect", "all"]},
                    "generated": {
                        "collector": "detector:Hits",
                        "arguments": [{"seed": 1}],
                        "max_subjobs": 1,
                        "pre_collector": "detector:before",
                    },
                    "other": {**COLLECTION, "pre_collector": ["make", "ready"]},
                },
                algorithms=[
                    {**ALGORITHM, "strategy": "SequentialRunByRun", "params": {"step_size": 2}},
                    {**ALGORITHM, "name": "own", "strategy": "mine:S", "params": {"anything": 1}},
                    {**ALGORITHM, "name": "templated", "algorithm": "{{ params.a }}"},
                    {**ALGORITHM, "name": "before", "pre_algorithm": "detector:before", "prefix": "Hits"},
                ],
            ),
            params={"a": {"default": "x:Y"}},
        )
    )


BAD: list[tuple[dict[str, Any], str, str, tuple[Any, ...]]] = [
    (caf(name="a b"), "'a b' cannot be the name of a CAF", "'a_b' would do", ("name",)),
    ({"name": "demo"}, "The CAF 'demo' has no calibration", "Add one", ("calibrations",)),
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
        caf(calibration("beamspot"), calibration("vertex", depends_on=["beamsport"])),
        "Calibration 'vertex' depends on 'beamsport', which does not exist",
        "Did you mean 'beamspot'?",
        ("calibrations", 1, "depends_on", 0),
    ),
    (
        caf(calibration("a", depends_on=["b"]), calibration("b", depends_on=["a"])),
        "in a circle: a → b → a",
        "Take one of these",
        ("calibrations",),
    ),
    *(
        (
            caf(calibration(max_iterations=value)),
            f"{value!r} cannot stand here",
            hint,
            ("calibrations", 0, "max_iterations"),
        )
        for value, hint in ((-1, "0"), (101, "100"), (True, "whole number"), (1.0, "whole number"))
    ),
    (
        caf(calibration(collections={})),
        "Calibration 'vertex' has no collection",
        "Add one",
        ("calibrations", 0, "collections"),
    ),
    (
        caf(calibration(algorithms=[])),
        "Calibration 'vertex' has no algorithm",
        "Add one",
        ("calibrations", 0, "algorithms"),
    ),
    (
        caf(calibration(algorithms=[ALGORITHM, ALGORITHM])),
        "There are two algorithms named 'fit' in calibration 'vertex'",
        "Rename one",
        ("calibrations", 0, "algorithms", 1, "name"),
    ),
    (
        caf(calibration(backend_args={"a": object()})),
        "In backend_args of calibration 'vertex': The value['a'] holds",
        "Use null",
        ("calibrations", 0, "backend_args"),
    ),
    (caf(backend_args={1: 2}), "In backend_args of CAF 'demo': The value has the key 1", "strings", ("backend_args",)),
]

BAD_COLLECTIONS: list[tuple[dict[str, Any], str, str, tuple[Any, ...]]] = [
    ({"name": "$(id)"}, "'$(id)' cannot be the name of a collection", "'id' would do", ("name",)),
    ({"name": "decide"}, "No collection of calibration 'vertex' can be named 'decide'", "Rename", ("name",)),
    ({"name": "fit"}, "an algorithm and a collection named 'fit'", "side by side", ()),
    *(
        ({"max_subjob_retries": value}, f"{value!r} cannot stand here", hint, ("max_subjob_retries",))
        for value, hint in ((-1, "0"), (101, "100"), (1.0, "whole number"), (True, "whole number"))
    ),
    *(
        ({"max_failed_subjobs": value}, f"{value!r} cannot stand here", "share below 1", ("max_failed_subjobs",))
        for value in (-1, 1.0, True, "all")
    ),
    *(
        ({word: value}, f"{value!r} cannot stand here", hint, (word,))
        for word, value, hint in (
            ("max_files_per_collector_job", 0, "at least 1"),
            ("max_collector_jobs", -1, "at least 1"),
            ("max_collector_jobs", True, "whole number"),
            ("max_collector_jobs", 1.5, "whole number"),
            ("max_subjobs", 0, "at least 1"),
        )
    ),
    ({"arguments": [3]}, "3 cannot stand here", "mapping", ("arguments", 0)),
    ({"arguments": [{"a": {1}}]}, "In arguments of collection 'default'", "Use null", ("arguments", 0)),
    ({"collector": None}, "Collection 'default' of calibration 'vertex' has no 'collector'", "Add", ()),
    ({"collector": "Hits"}, "In collector of collection 'default'", "package.module:Name", ("collector",)),
    ({"collector": 3}, "In collector of collection 'default' of calibration 'vertex': ", "Write it as", ("collector",)),
    *(
        ({"collector": words}, "In collector of collection 'default'", "list of words", ("collector",))
        for words in ([], ["", "x"], ["a", 3], ["a", "b\0"])
    ),
    (
        {"input_files": []},
        "collection 'default' of calibration 'vertex' has no input files",
        "patterns",
        ("input_files",),
    ),
    ({"granularity": "runs"}, "There is no granularity 'runs'", "Did you mean 'run'?", ("granularity",)),
    ({"output_patterns": []}, "declares no output", "output_patterns", ("output_patterns",)),
    *(
        ({"output_patterns": [text]}, f"The output pattern {text!r}", "relative", ("output_patterns", 0))
        for text in ("../x", "/x", "")
    ),
    ({"pre_collector": "x"}, "In pre_collector of collection 'default'", "package.module:Name", ("pre_collector",)),
    ({"pre_collector": []}, "In pre_collector of collection 'default'", "list of words", ("pre_collector",)),
    ({"settings": {"a": {1}}}, "In settings of collection 'default'", "Use null", ("settings",)),
    ({"backend_args": {"a": {1}}}, "In backend_args of collection 'default'", "Use null", ("backend_args",)),
]

BAD_ALGORITHMS: list[tuple[dict[str, Any], str, str, tuple[Any, ...]]] = [
    ({"name": "it's"}, '"it\'s" cannot be the name of an algorithm', "'it_s' would do", ("name",)),
    ({"name": "decide"}, "No algorithm of calibration 'vertex' can be named 'decide'", "Rename", ("name",)),
    ({"algorithm": "Fit"}, "In algorithm of algorithm 'fit'", "package.module:Name", ("algorithm",)),
    ({"prefix": "a/b"}, "'a/b' cannot be the name of a collector prefix", "'a_b' would do", ("prefix",)),
    ({"pre_algorithm": "x"}, "In pre_algorithm of algorithm 'fit'", "package.module", ("pre_algorithm",)),
    ({"settings": {"a": b""}}, "In settings of algorithm 'fit'", "Use null", ("settings",)),
    ({"params": {"apply_iov": float("nan")}}, "In params of algorithm 'fit'", "finite", ("params",)),
    (
        {"strategy": "SingleIov"},
        "There is no strategy 'SingleIov'",
        "Did you mean 'SingleIOV'?",
        ("strategy",),
    ),
    ({"strategy": "a b:S"}, "In strategy of algorithm 'fit'", "package.module:Name", ("strategy",)),
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
    *(
        (
            {word: value},
            f"In {word} of algorithm 'fit' of calibration 'vertex': {value!r} cannot stand here",
            hint,
            (word,),
        )
        for word, value, hint in (
            ("workers", 0, "at least 1"),
            ("workers", True, "whole number"),
            ("cpus", 1.5, "whole number"),
            ("execution_timeout", -1, "above 0"),
            ("execution_timeout", float("nan"), "above 0"),
            ("memory_growth", 0, "at least 1"),
            ("run_ahead", 1, "true or false"),
            ("keep_executions", "yes", "true or false"),
            ("fill_gaps", None, "true or false"),
        )
    ),
]


def check_one(record: dict[str, Any], what: str, hint: str, where: tuple[Any, ...]) -> None:
    fitting = [error for error in find_mistakes(record) if what in str(error)]
    assert len(fitting) == 1, [str(error) for error in find_mistakes(record)]
    assert hint in (fitting[0].hint or "")
    assert fitting[0].where == where
    with pytest.raises(DefinitionError) as caught:
        check_caf(record)
    assert what in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(("record", "what", "hint", "where"), BAD, ids=lambda value: str(value)[:40])
def test_mistakes(record: dict[str, Any], what: str, hint: str, where: tuple[Any, ...]) -> None:
    check_one(record, what, hint, where)


@pytest.mark.parametrize(("changes", "what", "hint", "where"), BAD_COLLECTIONS, ids=lambda value: str(value)[:40])
def test_mistakes_in_a_collection(changes: Any, what: str, hint: str, where: tuple[Any, ...]) -> None:
    place: tuple[Any, ...] = ("calibrations", 0, "collections", changes.get("name", "default"))
    if what.startswith("an algorithm and"):
        place, where = ("calibrations", 0, "algorithms", 0), ("name",)
    check_one(with_collection(**changes), what, hint, (*place, *where))


@pytest.mark.parametrize(("changes", "what", "hint", "where"), BAD_ALGORITHMS, ids=lambda value: str(value)[:40])
def test_mistakes_in_an_algorithm(changes: Any, what: str, hint: str, where: tuple[Any, ...]) -> None:
    check_one(with_algorithm(**changes), what, hint, ("calibrations", 0, "algorithms", 0, *where))


class TestGranularity:
    ALL = {**COLLECTION, "granularity": "all"}  # noqa: RUF012
    RUN = {**COLLECTION, "granularity": "run"}  # noqa: RUF012

    @pytest.mark.parametrize("strategy", ["SequentialRunByRun", "SimpleRunByRun", "SequentialBoundaries"])
    def test_all_with_a_run_wise_strategy(self, strategy: str) -> None:
        algorithms = [{**ALGORITHM, "strategy": strategy}]
        with pytest.raises(DefinitionError) as caught:
            check_caf(caf(calibration(collections={"default": self.ALL}, algorithms=algorithms)))
        text = str(caught.value)
        assert f"Algorithm 'fit' of calibration 'vertex' uses the strategy {strategy}" in text
        assert "its collection 'default' has the granularity 'all'" in text
        assert "Collect with the granularity 'run', or use the strategy SingleIOV" in text
        assert caught.value.where == ("calibrations", 0, "algorithms", 0, "strategy")

    @pytest.mark.parametrize("strategy", ["SingleIOV", "mine:S"])
    def test_all_with_a_strategy_that_may(self, strategy: str) -> None:
        algorithms = [{**ALGORITHM, "strategy": strategy}]
        assert find_mistakes(caf(calibration(collections={"default": self.ALL}, algorithms=algorithms))) == ()

    def test_with_a_prefix_the_algorithm_may_read_the_other_collection(self) -> None:
        algorithm = {**ALGORITHM, "strategy": "SimpleRunByRun", "prefix": "Hits"}
        both = {"default": self.ALL, "second": self.RUN}
        assert find_mistakes(caf(calibration(collections=both, algorithms=[algorithm]))) == ()
        without = {**algorithm, "prefix": None}
        assert len(find_mistakes(caf(calibration(collections=both, algorithms=[without])))) == 1
        only = {"default": self.ALL}
        assert len(find_mistakes(caf(calibration(collections=only, algorithms=[algorithm])))) == 1


def test_a_calibration_that_depends_on_itself() -> None:
    with pytest.raises(DefinitionError, match="in a circle: a → a"):
        check_caf(caf(calibration("a", depends_on=["a"])))


def test_all_mistakes_at_once_one_per_line() -> None:
    record = caf(
        calibration("a", depends_on=["zzz"], algorithms=[]),
        calibration("a/b", collections={"join": {**COLLECTION, "input_files": [], "output_patterns": []}}),
    )
    with pytest.raises(DefinitionError) as caught:
        check_caf(record)
    lines = str(caught.value).splitlines()
    assert lines[0] == "5 mistakes in the CAF 'demo':"
    assert len(lines) == 6
    assert all(line.startswith("- ") and "hint: " in line for line in lines[1:])
    assert len(caught.value.causes) == 5


def find(record: dict[str, Any]) -> list[tuple[str, tuple[Any, ...]]]:
    return [(mistake.what, mistake.where) for mistake in find_mistakes(record)]


def test_algorithms_without_a_collection_need_someone_to_depend_on() -> None:
    assert find(caf(calibration(), calibration("merged", collections={}, depends_on=["vertex"]))) == []
    ((what, where),) = find(caf(calibration(collections={})))
    assert (what, where) == ("Calibration 'vertex' has no collection.", ("calibrations", 0, "collections"))


def test_a_boundary_at_an_ignored_run_is_a_mistake() -> None:
    params = {"payload_boundaries": [[1, 3], [1, 5]]}
    algorithm = {**ALGORITHM, "strategy": "SequentialBoundaries", "params": params}
    ((what, where),) = find(caf(calibration(algorithms=[algorithm], ignored_runs=[ExpRun(1, 5), ExpRun(1, 6)])))
    assert "has a boundary at run 1.5, which is in ignored_runs" in what
    assert where == ("calibrations", 0, "algorithms", 0, "params", "payload_boundaries")


def test_a_boundary_that_is_no_run_is_the_only_mistake() -> None:
    params = {"payload_boundaries": [4, None]}
    algorithm = {**ALGORITHM, "strategy": "SequentialBoundaries", "params": params}
    ((what, _),) = find(caf(calibration(algorithms=[algorithm])))
    assert "The parameter 'payload_boundaries' of the strategy SequentialBoundaries is [4, None]" in what


def test_a_template_may_stand_for_a_parameter_that_the_strategy_has() -> None:
    assert find(with_algorithm(params={"apply_iov": "{{ params.iov }}"})) == []
    assert find(with_algorithm(params={"apply_iov": [1, 0, "{{ params.exp }}", -1]})) == []
    ((what, _),) = find(with_algorithm(params={"iov_coverage": "{{ params.iov }}"}))
    assert "The strategy SingleIOV has no parameter 'iov_coverage'" in what


@pytest.mark.parametrize(
    ("budget", "splitting", "what"),
    [
        (1, {"one": {}, "two": {}}, "job_budget is 1, but 2 collections share it."),
        (
            5,
            {"one": {"max_collector_jobs": 2}},
            "job_budget has no effect: every collection has a splitting of its own.",
        ),
        (1, {"one": {}}, None),
    ],
)
def test_a_budget_has_to_suffice_and_to_have_an_effect(
    budget: int, splitting: dict[str, dict[str, Any]], what: str | None
) -> None:
    collections = {name: {**COLLECTION, **words} for name, words in splitting.items()}
    definition = caf(calibration(collections=collections), job_budget=budget)
    assert [mistake for mistake, _ in find(definition)] == ([] if what is None else [what])


@pytest.mark.parametrize("budget", [0, "5"])
def test_a_budget_is_a_count(budget: Any) -> None:
    ((what, _),) = find(caf(job_budget=budget))
    assert what == f"In job_budget of CAF 'demo': {budget!r} cannot stand here."


def test_steps_that_collect_nothing_are_checked_too() -> None:
    good = {"name": "earlier", "type": "imported_payloads", "folder": "/x"}
    assert find(caf(good, calibration(depends_on=["earlier"]))) == []
    wrong = {"name": "join", "type": "imported_payloads", "folder": "/x", "depends_on": ["nobody"]}
    found = [what for what, _ in find(caf(wrong))]
    assert "A calibration cannot be named 'join'." in found
    assert "Calibration 'join' depends on 'nobody', which does not exist." in found
    ((what, _),) = find(caf({**good, "type": "imported"}))
    assert "There is no type 'imported' of calibration." in what


def test_a_file_map_is_input() -> None:
    assert find(with_collection(input_files=[], files_to_iovs="/map.json")) == []
