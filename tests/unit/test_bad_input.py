"""Bad input, from end to end: each mistake is an error that says what, where and what to do, and nothing is lost.

The definitions are checked when Airflow parses them, all else when the step runs that meets it first: here the steps
run as in a task, with real files and real processes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_caf import CAF, Algorithm, Calibration, Collection
from airflow_provider_caf.core.errors import (
    AlgorithmDied,
    AlgorithmFailed,
    CafError,
    DatabaseError,
    DefinitionError,
    InputError,
    JobFailed,
)
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.operators.base import failing_for_good
from tests.unit.store import Store

if TYPE_CHECKING:
    from tests.unit.conftest import Lab

HOSTILE_NAMES = ("a/b", "a b", "a;b", "$(reboot)", "a'b", 'a"b', "..", "../a", "`a`", "a\nb", "-rf", ".hidden", "")


def make(name: str, **words: Any) -> Calibration:
    given = {"collector": "hits:Collector", "algorithms": "hits:Mean", "input_files": "/data/*.root", **words}
    return Calibration(name, **given)


def check_message(error: pytest.ExceptionInfo[CafError], what: list[str], hint: str) -> None:
    """Check that a message says what and where, and that its hint says what to do."""
    text = str(error.value)
    assert [part for part in what if part not in text] == []
    assert hint in text


# Definitions: refused when the DAG file is parsed.


def test_duplicate_calibration_names() -> None:
    with pytest.raises(DefinitionError) as caught:
        CAF("demo", [make("vertex"), make("vertex")]).resolve()
    check_message(caught, ["two calibrations named 'vertex'"], "Rename one of them.")


def test_a_dependency_that_does_not_exist() -> None:
    with pytest.raises(DefinitionError) as caught:
        CAF("demo", [make("vertex"), make("gain", depends_on=["vertx"])]).resolve()
    check_message(caught, ["Calibration 'gain' depends on 'vertx', which does not exist."], "'vertex'")


def test_a_cycle() -> None:
    first, second, third = make("first"), make("second"), make("third")
    first.depends_on(third)
    second.depends_on(first)
    third.depends_on(second)
    with pytest.raises(DefinitionError) as caught:
        CAF("demo", [first, second, third]).resolve()
    check_message(caught, ["in a circle: first → third → second → first"], "Take one of these dependencies out.")


def test_a_calibration_that_depends_on_itself() -> None:
    itself = make("vertex")
    itself.depends_on(itself)
    with pytest.raises(DefinitionError) as caught:
        CAF("demo", [itself]).resolve()
    check_message(caught, ["in a circle: vertex → vertex"], "Take one of these dependencies out.")


def test_a_parameter_that_the_strategy_does_not_know() -> None:
    algorithm = Algorithm("hits:Mean", "SequentialRunByRun", {"iov_coverag": None})
    with pytest.raises(DefinitionError) as caught:
        CAF("demo", [make("vertex", algorithms=algorithm)]).resolve()
    what = ["algorithm 'Mean' of calibration 'vertex'", "SequentialRunByRun", "'iov_coverag'"]
    check_message(caught, what, "'iov_coverage'")


def test_a_strategy_that_does_not_exist() -> None:
    with pytest.raises(DefinitionError) as caught:
        CAF("demo", [make("vertex", algorithms=Algorithm("hits:Mean", "SequentialRunByRunn"))]).resolve()
    check_message(caught, ["'SequentialRunByRunn'", "calibration 'vertex'"], "'SequentialRunByRun'")


@pytest.mark.parametrize("strategy", ["SequentialRunByRun", "SimpleRunByRun", "SequentialBoundaries"])
def test_granularity_all_with_a_run_wise_strategy(strategy: str) -> None:
    collections = {"hits": Collection("hits:Collector", "/data/*.root", granularity="all")}
    calibration = Calibration("vertex", algorithms=Algorithm("hits:Mean", strategy), collections=collections)
    with pytest.raises(DefinitionError) as caught:
        CAF("demo", [calibration]).resolve()
    what = ["Algorithm 'Mean' of calibration 'vertex'", strategy, "'hits' has the granularity 'all'"]
    check_message(caught, what, "use the strategy SingleIOV")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize(
    "build",
    [
        lambda name: CAF(name, [make("vertex")]),
        lambda name: CAF("demo", [make(name)]),
        lambda name: CAF("demo", [make("vertex", algorithms=Algorithm("hits:Mean", name=name or "."))]),
        lambda name: CAF("demo", [make("v", collections={name: Collection("hits:Collector", "/data/a.root")})]),
    ],
    ids=["caf", "calibration", "algorithm", "collection"],
)
def test_hostile_names(build: Callable[[str], CAF], name: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        build(name).resolve()
    check_message(caught, ["cannot be the name of a"], "Use at most 100 letters, digits, '_' and '-'")
    assert "would do." in str(caught.value)


# Classes and input files: refused by the first task, before anything is submitted.


def check_nothing_submitted(lab: Lab) -> None:
    assert not lab.layout().definition.exists()
    assert list(lab.layout().folder.rglob("collector_input")) == []


@pytest.mark.parametrize(
    ("reference", "what", "hint"),
    [
        ("{module}:HitColector", ["'HitColector'"], "'HitCollector'"),
        ("{module}:NOT_A_CLASS", ["NOT_A_CLASS", "not a subclass of Collector"], "Collector"),
        ("{module}:MeanAlgorithm", ["is a class, but not a subclass of Collector"], "Derive it"),
        ("{folder}/not_there.py:HitCollector", ["{folder}/not_there.py"], ""),
        ("no_such_module_of_caf:HitCollector", ["'no_such_module_of_caf'"], "PYTHONPATH"),
    ],
)
def test_an_unknown_collector(lab: Lab, reference: str, what: list[str], hint: str) -> None:
    places = {"module": lab.files.module, "folder": lab.files.module.parent}
    with pytest.raises(DefinitionError) as caught:
        lab.prepare(lab.calibration(collector=reference.format(**places)))
    check_message(caught, [part.format(**places) for part in what], hint)
    assert caught.value.hint
    check_nothing_submitted(lab)


def test_an_unknown_algorithm(lab: Lab) -> None:
    with pytest.raises(DefinitionError) as caught:
        lab.prepare(lab.calibration(algorithms=lab.files.name("MeanAlgoritm")))
    check_message(caught, ["In calibration 'vertex'", "no 'MeanAlgoritm'"], "'MeanAlgorithm'")
    check_nothing_submitted(lab)


def test_a_module_that_cannot_be_imported(lab: Lab, tmp_path: Path) -> None:
    module = tmp_path / "broken_module.py"
    module.write_text("import a_software_that_is_not_installed\n")
    with pytest.raises(DefinitionError) as caught:
        lab.prepare(lab.calibration(collector=f"{module}:HitCollector"))
    check_message(
        caught, ["In calibration 'vertex'", "broken_module", "a_software_that_is_not_installed"], "Import it by hand"
    )
    check_nothing_submitted(lab)


def test_an_algorithm_that_needs_the_prefix_of_another_collector(lab: Lab) -> None:
    with pytest.raises(DefinitionError) as caught:
        lab.prepare(lab.calibration(algorithms=lab.files.name("NeedsAnother")))
    what = "Algorithm 'NeedsAnother' of calibration 'vertex' needs the objects of prefix 'Vertex', which no collector"
    check_message(caught, [what], "Hits")
    check_nothing_submitted(lab)


def test_a_collector_of_granularity_all_with_a_run_wise_strategy(lab: Lab) -> None:
    """Here the class says so, not the definition: it is known once the class was asked."""
    with pytest.raises(DefinitionError) as caught:
        lab.prepare(lab.calibration(collector=lab.files.name("AllCollector")))
    what = ["'SimpleRunByRun' of algorithm 'MeanAlgorithm' in calibration 'vertex'", "has granularity 'all'"]
    check_message(caught, what, "SingleIOV")
    check_nothing_submitted(lab)


def test_a_parameter_that_an_own_strategy_does_not_know(lab: Lab) -> None:
    algorithm = lab.algorithm(strategy="HoleStrategy", params={"depth": 3})
    with pytest.raises(DefinitionError) as caught:
        lab.prepare(lab.calibration(algorithms=algorithm))
    check_message(caught, ["HoleStrategy", "'depth'"], "no parameters")
    check_nothing_submitted(lab)


def test_a_pattern_that_matches_nothing(lab: Lab) -> None:
    pattern = str(lab.files.events[0].parent / "evnts_*.root")
    with pytest.raises(InputError) as caught:
        lab.prepare(lab.calibration(input_files=[pattern]))
    what = ["input files of collection 'default' of calibration 'vertex'", f"{pattern!r} matches no file"]
    check_message(caught, what, f"nearest existing folder is {str(lab.files.events[0].parent)!r}")
    check_nothing_submitted(lab)


def spoil_none(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def spoil_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (spoil_none, "is a link to a file that is missing"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (spoil_half, "is truncated: it has"),
        (lambda path: path.write_text("not at all " * 100), "is not a ROOT file"),
    ],
    ids=["missing", "empty", "truncated", "not ROOT"],
)
def test_an_input_file_that_cannot_be_used(lab: Lab, tmp_path: Path, spoil: Callable[[Path], Any], what: str) -> None:
    good, bad = tmp_path / "a.root", tmp_path / "b.root"
    for path, source in zip((good, bad), lab.files.events, strict=False):
        shutil.copy(source, path)
    spoil(bad)
    with pytest.raises(InputError) as caught:
        lab.prepare(lab.calibration(input_files=[good, bad]))
    where = "1 of 2 input files of collection 'default' of calibration 'vertex' cannot be used"
    check_message(caught, [where, f"{str(bad)!r} {what}"], "Copy or make these files again")
    check_nothing_submitted(lab)


def test_an_input_file_that_is_missing(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        lab.prepare(lab.calibration(input_files=[tmp_path / "gone.root"]))
    check_message(caught, [f"{str(tmp_path / 'gone.root')!r} matches no file"], "nearest existing folder")
    check_nothing_submitted(lab)


def test_an_input_file_that_is_damaged_inside_is_told_by_its_subjob(lab: Lab, tmp_path: Path) -> None:
    """Its header is that of a whole file, so that only the job meets the damage; the other subjob is kept."""
    good, bad = tmp_path / "a.root", tmp_path / "b.root"
    for path, source in zip((good, bad), lab.files.events, strict=False):
        shutil.copy(source, path)
    data = bytearray(bad.read_bytes())
    data[100:] = bytes(len(data) - 100)
    bad.write_bytes(data)
    lab.prepare(lab.calibration(input_files=[good, bad]))
    lab.submit()
    run = lab.open()
    lab.wait(run)
    with pytest.raises(JobFailed) as caught:
        run.check_done(run.observe())
    check_message(
        caught, ["1 of 2 subjobs of collection 'default' in calibration 'vertex'", "b.root"], "only the failed"
    )
    shutil.copy(lab.files.events[1], bad)
    assert lab.collect() == (1,)


# Algorithms: the task fails, and what was committed before is kept.


def set_up(lab: Lab, algorithm: Algorithm, **words: Any) -> None:
    lab.prepare(lab.calibration(algorithms=algorithm, **words))
    lab.take_merged()


@pytest.mark.parametrize(
    ("behaviour", "error", "what", "hint"),
    [
        ("raise", AlgorithmFailed, ["raised RuntimeError: no convergence", "MeanAlgorithm.log"], "whole traceback"),
        ("nonsense", DefinitionError, ["calibrate()", "gave 'fine', which is no result code"], "ResultCode.OK"),
        ("crash", AlgorithmDied, ["ended by SIGSEGV (signal 11)", "about to crash"], "printed last"),
    ],
)
def test_an_algorithm_that_breaks(lab: Lab, behaviour: str, error: type[CafError], what: list[str], hint: str) -> None:
    set_up(lab, lab.algorithm(settings={"behaviour": behaviour}))
    with pytest.raises(error) as caught:
        lab.calibrate()
    check_message(caught, ["MeanAlgorithm", *what], hint)
    context: Any = {"task_state_store": Store()}
    with pytest.raises(AlgorithmDied if error is AlgorithmDied else AirflowFailException), failing_for_good(context):
        raise caught.value
    assert what[0] in context["task_state_store"]["reason"]
    database = LocalDatabase(lab.layout().iteration(0).algorithm("MeanAlgorithm").database)
    assert [entry.iov for entry in database.entries()] == [IoV(1, 1, 1, 1), IoV(1, 2, 1, 2), IoV(2, 1, 2, 1)]
    assert database.verify() == 3


def test_a_full_disk_while_a_payload_is_written(lab: Lab) -> None:
    """The limit on the size of files stands for it: writing ends with an error half way."""
    setup = {"setup": "ulimit -f 64; trap '' XFSZ"}
    set_up(lab, lab.algorithm("BigAlgorithm", "SingleIOV"), backend_args=setup)
    with pytest.raises(CafError) as caught:
        lab.calibrate("BigAlgorithm")
    check_message(caught, ["payload 'Big'", "File too large"], "Free space for")
    layout = lab.layout().iteration(0).algorithm("BigAlgorithm")
    assert LocalDatabase(layout.database).entries() == ()
    assert list(layout.staging_folder.iterdir()) == []


def test_a_full_disk_while_payloads_are_committed(lab: Lab, small_disk: Callable[[int], Any]) -> None:
    set_up(lab, lab.algorithm())
    lab.calibrate()
    lab.decide()
    source = LocalDatabase(lab.layout().iteration(0).database)
    before = (source.text_file.read_text(), source.verify())
    with small_disk(100), pytest.raises(DatabaseError) as caught:
        lab.finish()
    check_message(caught, [str(lab.layout().database), "File too large"], "hint")
    assert (source.text_file.read_text(), source.verify()) == before
    assert list(lab.layout().database.glob("*.root")) == []
    lab.finish()
    assert LocalDatabase(lab.layout().database).verify() == 4


def test_a_payload_that_says_no_number(lab: Lab, tmp_path: Path) -> None:
    module = tmp_path / "nan_module.py"
    module.write_text(
        "from airflow_provider_caf.worker import Algorithm\n"
        "class Nan(Algorithm):\n"
        "    def calibrate(self):\n"
        "        self.save_payload({'value': float('nan')}, 'Mean')\n"
        "        return 0\n"
    )
    set_up(lab, Algorithm(f"{module}:Nan"))
    with pytest.raises(DefinitionError) as caught:
        lab.calibrate("Nan")
    check_message(caught, ["payload 'Mean'", "nan"], "hint")
