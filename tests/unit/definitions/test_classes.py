"""What an expert writes in Python: every word of it reaches the record, and what cannot be is refused at once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf import (
    CAF,
    Algorithm,
    Calibration,
    Collection,
    ExpRun,
    IoV,
)
from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.splitting import Splitting
from airflow_provider_caf.definitions.collection import FailureWords
from airflow_provider_caf.definitions.stored import read_caf
from tests.unit.definitions.making import ALGORITHM, COLLECTOR, DATA, LOCAL, TAG, build, build_members, make_calibration


def resolve(collection: Collection) -> Collection:
    return collection.resolve("hits", "vertex", {}, FailureWords())


def test_every_argument_of_a_collection_reaches_the_record() -> None:
    collection = Collection(
        COLLECTOR,
        ["/data/a.root", "root://server//b.root", "{{ params.folder }}/c.root"],
        max_files_per_collector_job=2,
        output_patterns=["CollectorOutput.root", "extra/*.txt"],
        backend_args={"queue": "short"},
        pre_collector="hits:skim",
        settings={"window": 0.5},
        granularity="all",
        files_to_iovs={"/data/a.root": [1, 2, 1, 3]},
        database_chain=[LOCAL, TAG],
        max_subjob_retries=5,
        max_failed_subjobs="2%",
    )
    record = resolve(collection)
    assert (record.max_subjob_retries, record.max_failed_subjobs) == (5, 0.02)
    assert record.name == "hits"
    assert record.reference == COLLECTOR
    assert record.command is None
    assert record.input_files == ["/data/a.root", "root://server//b.root", "{{ params.folder }}/c.root"]
    assert record.splitting == Splitting(max_files_per_collector_job=2)
    assert record.output_patterns == ["CollectorOutput.root", "extra/*.txt"]
    assert record.backend_args == {"queue": "short"}
    assert record.pre_job == {"function": "hits:skim"}
    assert record.settings == {"window": 0.5}
    assert record.granularity == "all"
    assert record.files_to_iovs == {"/data/a.root": IoV(1, 2, 1, 3)}
    assert record.databases == (
        DatabaseEntry(kind="local", value="/db/fixes"),
        DatabaseEntry(kind="global_tag", value="main"),
    )


def test_failures_are_treated_as_the_calibration_says_where_the_collection_says_nothing() -> None:
    collections = {
        "a": Collection(COLLECTOR, DATA),
        "b": Collection(COLLECTOR, DATA, max_subjob_retries=0, max_failed_subjobs=0),
    }
    plain = Calibration("x", COLLECTOR, "hits:Fit", DATA)
    given = Calibration(
        "y", algorithms="hits:Fit", collections=collections, max_subjob_retries=7, max_failed_subjobs="10%"
    )
    record = build(plain, given)
    (default,), (first, second) = (each.collections.values() for each in record.calibrations)
    found = [(each.max_subjob_retries, each.max_failed_subjobs) for each in (default, first, second)]
    assert found == [(3, 0), (7, 0.1), (0, 0)]


def test_failures_that_cannot_be_allowed() -> None:
    with pytest.raises(DefinitionError, match=r"In max_failed_subjobs of the collection: '200%' cannot stand here"):
        Collection(COLLECTOR, DATA, max_failed_subjobs="200%")


def test_no_word_of_a_collection_is_forgotten() -> None:
    """The test above has to grow with the class."""
    short = {"input_files", "settings", "granularity", "output_patterns", "database_chain", "backend_args"}
    failing = {"max_subjob_retries", "max_failed_subjobs"}
    splitting = {"max_files_per_collector_job", "max_collector_jobs", "arguments", "max_subjobs"}
    tested_elsewhere = {"input_data", "selection", "job_files", "merge"}
    known = {"collector", "pre_collector", "files_to_iovs"} | short | failing | splitting | tested_elsewhere
    assert set(Collection.model_fields) == known


@pytest.mark.parametrize(
    ("arguments", "splitting"),
    [
        ({"max_collector_jobs": 7}, Splitting(max_collector_jobs=7)),
        (
            {"arguments": [{"seed": 1}, {"seed": 2}], "max_subjobs": 2},
            Splitting(arguments=({"seed": 1}, {"seed": 2}), max_subjobs=2),
        ),
        ({}, Splitting()),
    ],
)
def test_splittings_reach_the_record(arguments: dict[str, Any], splitting: Splitting) -> None:
    assert resolve(Collection(COLLECTOR, DATA, **arguments)).splitting == splitting


@pytest.mark.parametrize("argv", [["python3", "collect.py"], ("python3", "collect.py")])
def test_a_list_of_words_is_a_command(argv: Any) -> None:
    record = resolve(Collection(argv, DATA, pre_collector=["skim", "--fast"]))
    assert record.reference is None
    assert record.command == ["python3", "collect.py"]
    assert record.pre_job == {"command": ["skim", "--fast"]}


def test_every_argument_of_an_algorithm_reaches_the_record() -> None:
    algorithm = Algorithm(
        ALGORITHM,
        "SequentialBoundaries",
        {"payload_boundaries": [ExpRun(1, 2), (3, 4)]},
        settings={"least": 10},
        name="mean",
        prefix="Hits",
        pre_algorithm="hits:warm_up",
    )
    record = algorithm
    assert record.name == "mean"
    assert record.algorithm == ALGORITHM
    assert record.strategy == "SequentialBoundaries"
    assert record.params == {"payload_boundaries": [[1, 2], [3, 4]]}
    assert record.settings == {"least": 10}
    assert record.prefix == "Hits"
    assert record.pre_algorithm == "hits:warm_up"


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("hits:MeanAlgorithm", "MeanAlgorithm"),
        ("/code/hits.py:MeanAlgorithm", "MeanAlgorithm"),
        ("hits:Box.In", "Box_In"),
    ],
)
def test_an_algorithm_is_named_after_its_class(reference: str, name: str) -> None:
    assert Algorithm(reference).name == name
    assert Algorithm(reference, name=None).name == name
    changed = Algorithm("other:Other")
    changed.algorithm = reference
    assert (changed.name, "name" in changed.to_json()) == (name, False)


def test_every_argument_of_a_calibration_reaches_the_record() -> None:
    calibration = make_calibration(
        max_iterations=3,
        ignored_runs=[(1, 7), ExpRun(2, 8)],
        requested_iov=(1, 0, 2, -1),
        depends_on=["other"],
        save_payloads=False,
        database_chain=[TAG],
        backend_args={"queue": "long"},
        max_collector_jobs=5,
        output_patterns=["CollectorOutput.root", "*.txt"],
        pre_collector="hits:skim",
    )
    record = build(calibration, make_calibration("other")).calibrations[0]
    assert record.max_iterations == 3
    assert record.ignored_runs == [ExpRun(1, 7), ExpRun(2, 8)]
    assert record.requested_iov == IoV(1, 0, 2, -1)
    assert record.dependencies == ["other"]
    assert record.save_payloads is False
    assert record.databases == (DatabaseEntry(kind="global_tag", value="main"),)
    assert record.backend_args == {"queue": "long"}
    (collection,) = record.collections.values()
    assert collection.name == "default"
    assert collection.reference == COLLECTOR
    assert collection.input_files == [DATA]
    assert collection.splitting == Splitting(max_collector_jobs=5)
    assert collection.output_patterns == ["CollectorOutput.root", "*.txt"]
    assert collection.pre_job == {"function": "hits:skim"}


def test_every_argument_of_a_caf_reaches_the_record() -> None:
    record = build(
        make_calibration(),
        make_calibration("other", max_iterations=0),
        backend="slurm",
        backend_args={"account": "calib"},
        connection="my_slurm",
        max_iterations=2,
        database_chain=[LOCAL, TAG],
    )
    assert record.name == "demo"
    assert record.backend == "slurm"
    assert record.backend_args == {"account": "calib"}
    assert record.connection == "my_slurm"
    assert [each.max_iterations for each in record.calibrations] == [2, 0]
    assert [entry.value for entry in record.databases] == ["/db/fixes", "main"]


def test_the_record_can_be_written_as_json_and_read_back() -> None:
    record = build(make_calibration(requested_iov=(1, 0, 2, -1), ignored_runs=[(1, 7)], database_chain=[TAG]))
    assert read_caf(json.loads(json.dumps(record.to_json()))) == record


def test_several_algorithms_keep_their_order() -> None:
    calibration = make_calibration(algorithms=["hits:Second", Algorithm("hits:First"), Algorithm("hits:Third")])
    assert [each.name for each in build(calibration).calibrations[0].algorithms] == ["Second", "First", "Third"]


def test_the_short_form_and_collections_go_together() -> None:
    calibration = make_calibration(collections={"cosmics": Collection("hits:Cosmics", "/cosmics/*.root")})
    names = [(each.name, each.reference) for each in build(calibration).calibrations[0].collections.values()]
    assert names == [("default", COLLECTOR), ("cosmics", "hits:Cosmics")]


def test_two_collections_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"'vertex' has two collections named 'default'") as caught:
        build(make_calibration(collections={"default": Collection("hits:Cosmics", "/cosmics/*.root")}))
    assert caught.value.hint == "Rename one of them."


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("input_files", DATA),
        ("max_collector_jobs", 3),
        ("max_files_per_collector_job", 3),
        ("output_patterns", ["x"]),
        ("pre_collector", "hits:skim"),
        ("granularity", "all"),
        ("files_to_iovs", {"/data/a.root": [1, 2]}),
    ],
)
def test_words_of_a_collection_need_a_collector(argument: str, value: Any) -> None:
    with pytest.raises(DefinitionError, match=rf"'vertex' has {argument} but no collector") as caught:
        build(Calibration("vertex", algorithms=ALGORITHM, **{argument: value}))
    assert "`collections`" in str(caught.value.hint)


def test_dependencies_are_objects_or_names_at_once_or_later() -> None:
    first, second, third = make_calibration("first"), make_calibration("second"), make_calibration("third")
    last = make_calibration("last", depends_on=[first, "second"])
    last.depends_on(third)
    last.depends_on("fourth")
    record = build(first, second, third, make_calibration("fourth"), last)
    assert record.calibrations[-1].dependencies == ["first", "second", "third", "fourth"]


def test_add_calibration_is_as_good_as_naming_it_at_once() -> None:
    caf = CAF("demo")
    caf.add_calibration(make_calibration())
    assert caf.resolve() == build(make_calibration())


def test_one_object_can_serve_in_several_places() -> None:
    collection = Collection(COLLECTOR, [DATA], settings={"window": [1, 2]}, backend_args={"queue": "short"})
    algorithm = Algorithm(ALGORITHM, "SequentialRunByRun", {"iov_coverage": [1, 0, 2, -1]})
    before = (collection.model_copy(deep=True), algorithm.model_copy(deep=True))
    calibrations = [
        Calibration(name, algorithms=[algorithm], collections={"hits": collection}, backend_args={"memory": 100})
        for name in ("first", "second")
    ]
    first, second = build(*calibrations).calibrations
    assert first.collections == second.collections
    assert first.algorithms == second.algorithms
    assert (collection, algorithm) == before


def test_what_the_user_gives_is_copied_and_never_changed() -> None:
    given: dict[str, Any] = {
        "input_files": ["/data/a.root"],
        "output_patterns": ["CollectorOutput.root"],
        "backend_args": {"queue": "short"},
        "settings": {"window": 1},
        "files_to_iovs": {"/data/a.root": [1, 1, 1, 1]},
        "database_chain": [dict(TAG)],
        "arguments": [{"seed": 1}],
        "max_subjobs": 5,
    }
    before = copy.deepcopy(given)
    collection = Collection(COLLECTOR, **given)
    algorithms = [Algorithm(ALGORITHM)]
    depends: list[Calibration | str] = []
    calibration = Calibration("vertex", collections={"hits": collection}, algorithms=algorithms, depends_on=depends)
    other = make_calibration("other")
    calibration.depends_on(other)
    record = build(other, calibration)
    assert given == before
    assert depends == []
    assert len(algorithms) == 1
    for value in given.values():
        if isinstance(value, (list, dict)):
            value.clear()
    algorithms.clear()
    assert build(other, calibration) == record


def test_lists_may_be_anything_that_can_be_gone_through_once() -> None:
    def files() -> Iterator[str]:
        yield "/data/a.root"
        yield "/data/b.root"

    calibration = make_calibration(input_files=files(), algorithms=iter([ALGORITHM]))
    caf = CAF("demo", iter([calibration]))
    assert caf.resolve() == caf.resolve()
    assert build_members(caf)[0].collections["default"].input_files == ["/data/a.root", "/data/b.root"]


def test_a_path_object_is_as_good_as_its_text() -> None:
    as_objects = build(make_calibration(input_files=[Path("/data/a.root"), Path("/data/b.root")]))
    assert as_objects == build(make_calibration(input_files=["/data/a.root", "/data/b.root"]))
    assert build(make_calibration(input_files=Path("/data/a.root"))) == build(
        make_calibration(input_files="/data/a.root")
    )


@pytest.mark.parametrize("path", ["data/a.root", "./a.root", "../a.root", "a.root", "", "*.root"])
def test_a_relative_input_path_is_refused(path: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        build(make_calibration(input_files=[path]))
    assert caught.value.what == f"In input_files of calibration 'vertex': The input file {path!r} is not absolute."
    assert "begins with '/'" in str(caught.value.hint)


@pytest.mark.parametrize("path", [7, None, b"/data/a.root", ["/data/a.root"]])
def test_an_input_path_that_is_no_text_is_refused(path: Any) -> None:
    with pytest.raises(DefinitionError, match="In input_files of calibration 'vertex'"):
        build(make_calibration(input_files=[path]))


@pytest.mark.parametrize("pattern", ["/etc/passwd", "../other.root", "a/../../b.root", ".."])
def test_an_output_pattern_that_leaves_the_folder_is_refused(pattern: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        build(make_calibration(output_patterns=[pattern]))
    assert f"In output_patterns of calibration 'vertex': The output pattern {pattern!r} leaves" in str(caught.value)
    assert "relative" in str(caught.value.hint)


@pytest.mark.parametrize("argv", [[], [""], ["python3", 7], ["python3", ""]])
def test_a_command_that_is_no_list_of_words_is_refused(argv: Any) -> None:
    with pytest.raises(DefinitionError, match="In collector of the collection: The command is") as caught:
        Collection(argv, DATA)
    assert "list of words" in str(caught.value.hint)


@pytest.mark.parametrize(
    "name", ["a/b", "a b", "a;b", "$(rm -rf)", "a'b", 'a"b', "..", "a..b", "", "ä", "-a", "a\nb", "x" * 101]
)
@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("CAF", lambda name: CAF(name, [make_calibration()])),
        ("calibration", lambda name: CAF("demo", [make_calibration(name)])),
        (
            "collection",
            lambda name: CAF(
                "demo", [Calibration("vertex", algorithms=ALGORITHM, collections={name: Collection(COLLECTOR, DATA)})]
            ),
        ),
        ("algorithm", lambda name: CAF("demo", [make_calibration(algorithms=Algorithm(ALGORITHM, name=name or " "))])),
    ],
)
def test_a_hostile_name_is_refused(kind: str, make: Callable[[str], CAF], name: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        make(name).resolve()
    text = str(caught.value)
    shown = " " if kind == "algorithm" and not name else name
    assert f"{shown!r} cannot be the name of a" in text
    assert kind in text
    assert "Use at most 100 letters, digits, '_' and '-'; begin with a letter or digit." in text
    assert "would do." in text


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        build(
            make_calibration("first one", algorithms=Algorithm(ALGORITHM, params={"step_size": 1})),
            make_calibration("second", depends_on=["sceond"], algorithms=Algorithm(ALGORITHM, "SingelIOV")),
        )
    text = str(caught.value)
    assert "'first_one' would do" in text
    assert "no parameter 'step_size'" in text
    assert "Calibration 'second' depends on 'sceond', which does not exist" in text
    assert "SingleIOV" in text
    assert len(caught.value.causes) == 4


@pytest.mark.parametrize("value", [-1, 101, 1.5, "3", True])
def test_a_wrong_number_of_iterations_is_refused(value: Any) -> None:
    with pytest.raises(
        DefinitionError, match=f"In max_iterations of calibration 'vertex': {value!r} cannot stand here"
    ):
        make_calibration(max_iterations=value)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"ignored_runs": [(1,)]}, "In ignored_runs of calibration 'vertex': (1,) is not a run."),
        ({"ignored_runs": ["17"]}, "In ignored_runs of calibration 'vertex': '17' is not a run."),
        ({"ignored_runs": [17]}, "In ignored_runs of calibration 'vertex': 17 is not a run."),
        ({"requested_iov": (1, 2, 3)}, "In requested_iov of calibration 'vertex': (1, 2, 3) is not an IoV."),
        ({"requested_iov": 17}, "In requested_iov of calibration 'vertex': 17 is not an IoV."),
        (
            {"requested_iov": (2, 0, 1, 0)},
            "In requested_iov of calibration 'vertex': The IoV (2, 0, 1, 0) ends before it starts.",
        ),
    ],
)
def test_a_wrong_run_or_iov_is_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        make_calibration(**changes)
    assert caught.value.what == what


def test_a_wrong_iov_of_a_file_says_whose_it_is() -> None:
    with pytest.raises(DefinitionError) as caught:
        Collection(COLLECTOR, DATA, files_to_iovs={"/data/a.root": [1, 2, 3]})
    assert caught.value.what == "In files_to_iovs of the collection: [1, 2, 3] is not an IoV."
    assert caught.value.where == ("files_to_iovs", "/data/a.root")


def test_one_run_is_the_iov_of_a_file() -> None:
    collection = Collection(COLLECTOR, files_to_iovs={"/data/a.root": [1, 2], "/data/b.root": "1.3"})
    record = resolve(collection)
    assert record.files_to_iovs == {"/data/a.root": IoV(1, 2, 1, 2), "/data/b.root": IoV(1, 3, 1, 3)}
    assert record.input_files == ["/data/a.root", "/data/b.root"]


def test_runs_and_iovs_may_be_written_as_text() -> None:
    as_text = make_calibration(ignored_runs=["1.7"], requested_iov="1,0,2,-1")
    assert build(as_text) == build(make_calibration(ignored_runs=[(1, 7)], requested_iov=(1, 0, 2, -1)))


def test_a_setting_that_is_no_json_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"In settings of the collection: The value\['window'\] holds <object"):
        Collection(COLLECTOR, DATA, settings={"window": object()})


@pytest.mark.parametrize(
    "entry", [{"remote": "x"}, {"local": ""}, {"local": "relative"}, {"local": "/a", "global_tag": "b"}, "/db", {}]
)
def test_a_wrong_entry_of_the_database_chain_is_refused(entry: dict[str, str]) -> None:
    with pytest.raises(DefinitionError, match=r"In database_chain of calibration 'vertex': .*database"):
        make_calibration(database_chain=[entry])


def test_a_calibration_without_collections_is_refused() -> None:
    with pytest.raises(DefinitionError, match="Calibration 'vertex' has no collection"):
        build(Calibration("vertex", algorithms=ALGORITHM))


def test_a_calibration_without_algorithms_is_refused() -> None:
    with pytest.raises(DefinitionError, match="Calibration 'vertex' has no algorithm"):
        build(make_calibration(algorithms=[]))
