"""Calibrations as scripts build them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.worker.basf2.dropin.caf import strategies
from airflow_provider_caf.worker.basf2.dropin.caf.backends import LSF, MaxFilesSplitter, MaxSubjobsSplitter
from airflow_provider_caf.worker.basf2.dropin.caf.framework import (
    CAF,
    Algorithm,
    Calibration,
    CalibrationBase,
    Collection,
)
from airflow_provider_caf.worker.basf2.dropin.caf.utils import IoV
from airflow_provider_caf.worker.basf2.dropin.warn import CafWarning
from tests.unit.worker.dropin.conftest import CalibrationAlgorithm, Module, Software

FILES = ["/data/1.root", "/data/2.root"]

pytestmark = pytest.mark.usefixtures("software")


def build_calibration(name: str = "Mean", **words: Any) -> Calibration:
    given = {"collector": "CaTest", "algorithms": [CalibrationAlgorithm()], "input_files": FILES, **words}
    return Calibration(name, **given)


def test_arguments_are_those_of_the_default_collection() -> None:
    calibration = build_calibration(max_files_per_collector_job=2, backend_args={"queue": "s"}, output_patterns=["*.x"])
    default = calibration.collections["default"]
    assert (default.input_files, default.output_patterns, default.backend_args) == (FILES, ["*.x"], {"queue": "s"})
    assert calibration.max_files_per_collector_job == 2
    assert isinstance(default.splitter, MaxFilesSplitter)
    calibration.max_collector_jobs = 7
    assert isinstance(default.splitter, MaxSubjobsSplitter)
    assert (default.max_collector_jobs, calibration.max_files_per_collector_job) == (7, None)
    calibration.files_to_iovs = {"x": IoV(1, 1, 1, 1)}
    assert default.files_to_iovs == {"x": IoV(1, 1, 1, 1)}
    assert calibration.collector.name() == "CaTest"
    calibration.max_collector_jobs = None
    assert default.splitter is None


def test_without_a_limit_there_are_at_most_a_thousand_subjobs() -> None:
    assert Collection().max_collector_jobs == Collection.default_max_collector_jobs == 1000


def test_both_limits_are_an_error() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        Collection(max_files_per_collector_job=1, max_collector_jobs=1)


def test_the_default_chain_is_that_of_the_release_and_the_last_one_counts_first(tmp_path: Path) -> None:
    (tmp_path / "database.txt").touch()
    calibration = build_calibration()
    tags = [database.global_tag for database in calibration.database_chain]
    assert tags == [database.global_tag for database in calibration.collections["default"].database_chain]
    assert tags == ["first", "second"]
    calibration.use_central_database("mine")
    calibration.use_local_database(str(tmp_path / "database.txt"), apply_to_default_collection=False)
    assert [each.db_type for each in calibration.database_chain] == ["central", "central", "central", "local"]
    assert len(calibration.collections["default"].database_chain) == 3
    calibration.reset_database()
    assert calibration.database_chain == calibration.collections["default"].database_chain == []


def test_without_basf2_the_chain_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "basf2", None)
    assert Collection(input_files=FILES).database_chain == []


def test_input_files_are_globs_lists_and_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.root", "a.root"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    both = [f"{tmp_path}/a.root", f"{tmp_path}/b.root"]
    assert Collection(input_files="*.root").input_files == both
    assert Collection(input_files=[f"file://{tmp_path}/*.root", "root://host//x.root"]).input_files == [
        *both,
        "root://host//x.root",
    ]
    assert Collection(input_files="/none/*.root").input_files == ["/none/*.root"]


@pytest.mark.parametrize("value", [{"/data/1.root": 1}, 3])
def test_what_is_no_list_of_files_is_an_error(value: Any) -> None:
    with pytest.raises(TypeError, match=f"not a {type(value).__name__}"):
        Collection(input_files=value)


@pytest.mark.parametrize(
    ("words", "match"),
    [({"collector": 3}, "A collector is a module"), ({"algorithms": ["x"]}, "Belle2::CalibrationAlgorithm, not a str")],
)
def test_a_wrong_type_is_an_error(words: dict[str, Any], match: str) -> None:
    with pytest.raises(TypeError, match=match):
        build_calibration(**words)


def test_strategies_and_functions_are_set_for_all_or_one_each() -> None:
    calibration = build_calibration(algorithms=[CalibrationAlgorithm(), CalibrationAlgorithm()])
    assert calibration.strategies == [strategies.SingleIOV] * 2
    calibration.strategies = strategies.SequentialRunByRun
    assert calibration.strategies == [strategies.SequentialRunByRun] * 2
    each = [strategies.SingleIOV, strategies.SimpleRunByRun]
    calibration.strategies = each
    assert calibration.strategies == each
    calibration.pre_algorithms = [None, print]
    assert calibration.pre_algorithms == [None, print]
    for wrong in ([strategies.SingleIOV], [], None):
        with pytest.raises(ValueError, match="give one for all 2 algorithms"):
            calibration.strategies = wrong


def test_an_algorithm_is_wrapped() -> None:
    cpp = CalibrationAlgorithm()
    algorithm = build_calibration(algorithms=cpp).algorithms[0]
    assert isinstance(algorithm, Algorithm)
    assert (algorithm.algorithm, algorithm.name, algorithm.params) == (cpp, "CalibrationAlgorithm", {})
    algorithm.data_input(["/0/CollectorOutput.root", "/0/x.mille"])
    assert cpp.files == ["/0/CollectorOutput.root"]


def test_what_a_script_gives_is_not_changed(software: Software) -> None:
    files, args, chain, patterns = list(FILES), {"queue": "s"}, [object()], ["*.root"]
    collector = Module("CaTest")
    shared = Collection(collector, files, database_chain=chain, backend_args=args, output_patterns=patterns)
    one, two = Calibration("one"), Calibration("two")
    for each in (one, two):
        each.add_collection("shared", shared)
    shared.use_central_database("tag")
    shared.output_patterns.append("x")
    assert (files, args, len(chain), patterns) == (FILES, {"queue": "s"}, 1, ["*.root"])
    assert one.collections["shared"] is two.collections["shared"] is shared
    assert shared.collector is collector


def test_dependencies() -> None:
    first, second = build_calibration("first"), build_calibration("second")
    second.depends_on(first)
    second.depends_on(first)
    assert (second.dependencies, first.future_dependencies) == ([first], [second])
    assert not second.dependencies_met()
    first.state = "failed"
    assert second.failed_dependencies() == [first]
    first.state = "completed"
    assert second.dependencies_met()
    for same in (second, build_calibration("second")):
        with pytest.warns(CafWarning, match="'second' cannot depend on one of the same name"):
            second.depends_on(same)
    assert (second.dependencies, second.future_dependencies) == ([first], [])


def test_a_collection_of_a_name_that_is_taken_is_an_error() -> None:
    with pytest.raises(ValueError, match="has a collection 'default' already"):
        build_calibration().add_collection("default", Collection())


class OwnType(CalibrationBase):
    def run(self) -> None:
        self.state = self.end_state

    def is_valid(self) -> bool:
        return True


def test_a_type_of_its_own_can_be_made() -> None:
    own = OwnType("own", ["x"])
    assert (own.input_files, own.files_to_iovs, repr(own)) == (["x"], {}, "own")
    assert OwnType("other").input_files == []


def build_with(granularity: str, strategy: type[Any]) -> Calibration:
    calibration = build_calibration(collector=Module("CaTest", granularity))
    calibration.strategies = strategy
    return calibration


def build_with_two_granularities() -> Calibration:
    calibration = build_calibration()
    calibration.add_collection("other", Collection(Module("CaTest", "all"), FILES))
    return calibration


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Calibration("Mean", "CaTest", input_files=FILES), "'Mean' cannot run: it has no algorithm"),
        (lambda: build_calibration(input_files=None), "no collection with a collector and input files"),
        (lambda: build_calibration(collector=None), "no collection with a collector and input files"),
        (lambda: build_with("all", strategies.SequentialRunByRun), "cannot work on the granularity 'all'"),
        (build_with_two_granularities, "differ in granularity"),
    ],
)
def test_a_calibration_that_cannot_run_is_refused(build: Any, match: str) -> None:
    calibration = build()
    assert not calibration.is_valid()
    with pytest.raises(ValueError, match=match):
        CAF().add_calibration(calibration)


def test_two_of_one_name_are_refused() -> None:
    caf = CAF()
    caf.add_calibration(build_calibration())
    with pytest.raises(ValueError, match="two calibrations named 'Mean'"):
        caf.add_calibration(build_calibration())
    assert list(caf.calibrations) == ["Mean"]


def test_defaults_of_all_calibrations() -> None:
    assert CAF().calibration_defaults == {"max_iterations": 5, "ignored_runs": []}
    assert CAF({"max_iterations": 2}).calibration_defaults["max_iterations"] == 2
    calibration, own = build_calibration(), build_calibration()
    own.max_iterations = 0
    for each in (calibration, own):
        with pytest.warns(CafWarning, match="'Mean' has no attribute 'max_iteration'"):
            each._apply_calibration_defaults({"max_iteration": 4, "max_iterations": 4})
    assert (calibration.max_iterations, own.max_iterations) == (4, 0)


def test_a_backend_is_one_of_the_classes() -> None:
    caf = CAF()
    caf.backend = LSF()
    assert isinstance(caf.backend, LSF)
    assert CAF(backend=caf.backend).backend is caf.backend
    with pytest.raises(TypeError, match="not a str"):
        caf.backend = "LSF"


def test_a_run_begins_with_how_airflow_does_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="has no calibrations"):
        CAF().run()
    assert "airflow caf import-script" in capsys.readouterr().err.splitlines()[0]


def test_a_folder_that_is_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    caf = CAF()
    caf.add_calibration(build_calibration())
    caf.output_dir = "there"
    (tmp_path / "there").mkdir()
    assert CAF()._make_output_dir() == str(tmp_path / "calibration_results")
    assert (tmp_path / "calibration_results").is_dir()
    with pytest.raises(RuntimeError, match="is there already"):
        caf.run()


def test_a_circle_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    caf, one, two = CAF(), build_calibration("one"), build_calibration("two")
    one.depends_on(two)
    two.depends_on(one)
    for each in (one, two):
        caf.add_calibration(each)
    with pytest.raises(DefinitionError):
        caf.run()
    assert not (tmp_path / "calibration_results").exists()
