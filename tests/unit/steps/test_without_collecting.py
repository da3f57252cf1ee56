"""Algorithms that work on payloads alone, that save none, and that reach what collectors left beside their output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf import Calibration, ImportedPayloads
from airflow_provider_caf.core.errors import CafError, DefinitionError, NotEnoughData
from airflow_provider_caf.core.files import read_json
from airflow_provider_caf.io.catalog import PayloadRow
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.members import StepRun

if TYPE_CHECKING:
    from tests.unit.conftest import Lab


def run_first(lab: Lab) -> None:
    """Run a calibration that leaves a mean for every run: 1.1, 1.2, 1.3 and 2.1."""
    lab.prepare(lab.calibration("first", max_iterations=0))
    lab.take_merged(name="first")
    lab.calibrate(name="first")
    lab.decide(name="first")
    lab.finish("first")


def merge(lab: Lab, cls: str = "MergingAlgorithm", strategy: str = "SingleIOV", **words: Any) -> Any:
    """Run a calibration without a collector after the first one, and give the values of its payloads."""
    params = words.pop("params", None)
    ancestors = words.pop("ancestors", ("first",))
    algorithm = lab.algorithm(cls, strategy, params=params, name="merging")
    calibration = Calibration("merged", algorithms=algorithm, depends_on=ancestors, max_iterations=0, **words)
    lab.prepare(calibration, ancestors=ancestors)
    lab.calibrate("merging", name="merged")
    lab.decide(name="merged")
    lab.finish("merged")
    return {str(row.iov): row.value for row in lab.catalog.read(PayloadRow, "lab", lab.run.run_id, "merged")}


def test_payloads_of_others_are_merged_over_their_runs(lab: Lab) -> None:
    run_first(lab)
    values = merge(lab)
    assert values == {"1,1,2,1": {"sum": pytest.approx(11 + 22 + 31 + 42), "runs": 4}}


@pytest.mark.without_root
def test_runs_are_filtered_and_the_strategy_is_free(lab: Lab) -> None:
    run_first(lab)
    values = merge(lab, strategy="SimpleRunByRun", ignored_runs=["1.2"], requested_iov=[1, 0, 1, -1])
    assert {iov: value["runs"] for iov, value in values.items()} == {"1,1,1,1": 1, "1,3,1,3": 1}


@pytest.mark.without_root
def test_after_imported_payloads_the_iov_says_where_to_begin(lab: Lab, tmp_path: Path) -> None:
    run_first(lab)
    folder = lab.layout("first").database
    step = ImportedPayloads("earlier", folder)
    StepRun(step, lab.layout("earlier"), say=lambda _: None).run()
    values = merge(lab, ancestors=("earlier",), params={"apply_iov": [1, 1, -1, -1]})
    assert values == {"1,1,-1,-1": {"sum": pytest.approx(11), "runs": 1}}
    with pytest.raises(NotEnoughData, match="has no run to work on"):
        merge(lab, ancestors=("earlier",))


def test_there_is_nothing_to_get(lab: Lab) -> None:
    run_first(lab)
    with pytest.raises(CafError, match="asks for the object 'x', which was not collected"):
        merge(lab, "GettingAlgorithm")


@pytest.mark.without_root
def test_a_changed_constant_of_another_calibration_is_a_reason_to_execute_again(lab: Lab) -> None:
    run_first(lab)
    merge(lab)
    assert lab.strategy("merging", name="merged").run().replayed == 1
    database = LocalDatabase(lab.layout("first").database)
    first, *others = database.entries()
    database.rewrite([(each.name, database.get_file(each), each.iov) for each in (*others, first)])
    assert lab.strategy("merging", name="merged").run().replayed == 0


@pytest.mark.without_root
def test_an_algorithm_may_save_nothing(lab: Lab) -> None:
    lab.prepare(lab.calibration(algorithms=lab.algorithm("ValidatingAlgorithm", "SingleIOV"), max_iterations=0))
    lab.take_merged()
    lab.calibrate("ValidatingAlgorithm")
    assert lab.decide().action.value == "FINISH"
    final = lab.finish()
    assert (final.iovs, final.gaps) == (0, {})
    assert LocalDatabase(lab.layout().database).entries() == ()


def test_an_algorithm_reaches_the_files_beside_the_output(lab: Lab) -> None:
    words = ["bash", "-c", 'cp "$1" CollectorOutput.root; echo side > "$2.side"', "-"]
    words += [f"{lab.files.collected[0].parent}/{{subjob}}.root", "{subjob}"]
    collection = lab.copies(words, output_patterns=["CollectorOutput.root", "*.side"])
    algorithms = [
        lab.algorithm("SideFileAlgorithm", "SingleIOV", name="plain"),
        lab.algorithm("SideFileAlgorithm", "SingleIOV", name="chosen", data_input=lab.files.name("take_side_files")),
    ]
    lab.prepare(lab.calibration(collections={"default": collection}, algorithms=algorithms, max_iterations=0))
    lab.collect()
    lab.merge()
    found = {}
    for name in ("plain", "chosen"):
        lab.calibrate(name)
        result = read_json(lab.layout().iteration(0).algorithm(name).result, "result")
        found[name] = result["executions"][0]["output"]
    files = [Path(path).name for path in found["plain"]["files"]["default"]]
    assert sorted(files) == ["0.side", "1.side", "2.side", *["CollectorOutput.root"] * 3]
    merged = str(lab.layout().iteration(0).collection("default").merged_file)
    assert found["plain"]["input"] == [merged]
    assert [Path(path).name for path in found["chosen"]["input"]] == ["0.side", "1.side", "2.side"]


@pytest.mark.without_root
def test_a_data_input_that_gives_no_list_is_refused(lab: Lab) -> None:
    algorithm = lab.algorithm("SideFileAlgorithm", "SingleIOV", data_input=lab.files.name("take_nonsense"))
    lab.prepare(lab.calibration(algorithms=algorithm))
    lab.take_merged()
    with pytest.raises(DefinitionError, match=r"take_nonsense' gave 'a\.root'"):
        lab.calibrate("SideFileAlgorithm")
