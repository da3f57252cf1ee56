"""The steering of a collector job, with a basf2 that only remembers."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.worker.basf2 import steering
from airflow_provider_caf.worker.requests import Job

KNOWN = {
    "RootInput": ("inputFileNames", "entrySequences", "ignoreCommandLineOverride"),
    "HistoManager": ("histoFileName",),
    "CaTest": ("granularity",),
}


class Module:
    def __init__(self, kind: str, **params: Any) -> None:
        self.kind = kind
        self.params: dict[str, Any] = {name: [] for name in KNOWN.get(kind, ())} | params

    def type(self) -> str:
        return self.kind

    def param(self, name: str, value: Any) -> None:
        self.params[name] = value

    def available_params(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name, values=value) for name, value in self.params.items()]


class Path_:
    def __init__(self, *modules: Module) -> None:
        self.all = list(modules)

    def modules(self) -> list[Module]:
        return self.all

    def add_module(self, module: str, **params: Any) -> None:
        self.all.append(Module(module, **params))

    def add_path(self, path: Path_) -> None:
        self.all += path.all


class Conditions:
    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *values, **words: self.said.append((name, (*values, *words.items())))


@pytest.fixture
def basf2(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that keeps what it was told."""
    module: Any = ModuleType("basf2")
    module.__path__ = []
    module.create_path = Path_
    module.conditions = Conditions()
    module.processed = []
    module.process = module.processed.append
    serialiser: Any = ModuleType("basf2.pickle_path")
    serialiser.serialize_path = lambda path: [(each.kind, each.params) for each in path.all]
    serialiser.deserialize_path = lambda value: Path_(*(Module(kind, **params) for kind, params in value))
    monkeypatch.setitem(sys.modules, "basf2", module)
    monkeypatch.setitem(sys.modules, "basf2.pickle_path", serialiser)
    return module


def read_job(**words: Any) -> Job:
    value = {"command": ["basf2", "steering.py"], "input_files": ["/a.root", "/b.root"], "collection": "physics"}
    return Job.from_json({**value, **words})


def run(basf2: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, *before: Module, **words: Any) -> list[Module]:
    monkeypatch.chdir(folder)
    steering.write_path(Path_(Module("CaTest", granularity="run")), folder / "collector.path", "collector")
    if before:
        steering.write_path(Path_(*before), folder / "reconstruction.path", "reconstruction")
    steering.run_steering(read_job(**words))
    (processed,) = basf2.processed
    modules: list[Module] = processed.modules()
    return modules


def test_input_and_histograms_stand_before_the_collector(
    basf2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = run(basf2, tmp_path, monkeypatch)
    assert [each.kind for each in modules] == ["RootInput", "HistoManager", "CaTest"]
    assert modules[0].params["inputFileNames"] == ["/a.root", "/b.root"]
    assert modules[1].params["histoFileName"] == "CollectorOutput.root"


def test_an_input_module_of_the_users_keeps_its_other_parameters(
    basf2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = run(basf2, tmp_path, monkeypatch, Module("RootInput", entrySequences=["0:100"]), Module("Geometry"))
    assert [each.kind for each in modules] == ["HistoManager", "RootInput", "Geometry", "CaTest"]
    assert modules[1].params["inputFileNames"] == ["/a.root", "/b.root"]
    # For each file.
    assert modules[1].params["entrySequences"] == ["0:100", "0:100"]


def test_ranges_of_entries_that_were_given_for_each_file_stay(
    basf2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = run(basf2, tmp_path, monkeypatch, Module("RootInput", entrySequences=["0:1", "0:2"]))
    assert modules[1].params["entrySequences"] == ["0:1", "0:2"]


def test_constants_come_from_the_chain_alone(basf2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = [
        {"kind": "local", "path": "/previous"},
        {"kind": "local", "path": "/ancestor"},
        {"kind": "global_tag", "name": "prompt"},
        {"kind": "global_tag", "name": "main"},
    ]
    run(basf2, tmp_path, monkeypatch, database_chain=chain)
    # What is put in front last counts first.
    assert basf2.conditions.said == [
        ("reset", ()),
        ("override_globaltags", ()),
        ("prepend_globaltag", ("main",)),
        ("prepend_globaltag", ("prompt",)),
        ("prepend_testing_payloads", ("/ancestor/database.txt",)),
        ("prepend_testing_payloads", ("/previous/database.txt",)),
    ]


def test_where_new_payloads_go() -> None:
    conditions = Conditions()
    entry = DatabaseEntry(kind="global_tag", value="main")
    steering.set_conditions(conditions, [entry], new_payloads=Path("/new/database.txt"))
    assert conditions.said[-1] == ("expert_settings", (("save_payloads", "/new/database.txt"),))


@pytest.mark.parametrize(
    "value", [[1, "two", 3.5, None, True], (1, (2,)), {"a": {1: b"x"}}, float("inf"), [-float("inf")], "'\"\n\u20ac"]
)
def test_parameters_come_back_as_they_were(basf2: Any, tmp_path: Path, value: Any) -> None:
    steering.write_path(Path_(Module("CaTest", granularity=value)), tmp_path / "a.path", "collector")
    (module,) = steering.read_path(tmp_path / "a.path").modules()
    assert module.params["granularity"] == value
    assert type(module.params["granularity"]) is type(value)


@pytest.mark.parametrize("value", [object(), float("nan"), {"a": [lambda: 1]}])
def test_objects_cannot_travel(basf2: Any, tmp_path: Path, value: Any) -> None:
    with pytest.raises(DefinitionError, match="The collector cannot travel with a job: a parameter in it is an object"):
        steering.write_path(Path_(Module("CaTest", granularity=value)), tmp_path / "a.path", "collector")
    assert not (tmp_path / "a.path").exists()


def test_a_module_in_python_cannot_travel(basf2: Any, tmp_path: Path) -> None:
    def refuse(_: Any) -> None:
        raise RuntimeError("Cannot serialize Python module!")

    sys.modules["basf2.pickle_path"].serialize_path = refuse  # type: ignore[attr-defined]
    with pytest.raises(DefinitionError, match="Cannot serialize Python module"):
        steering.write_path(Path_(), tmp_path / "a.path", "collector")


@pytest.mark.parametrize("text", ["", "__import__('os').system('true')", "[1, ", "open('/etc/passwd')"])
def test_a_path_that_is_no_literal_is_not_run(basf2: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.path").write_text(text)
    with pytest.raises(InputError, match="cannot be read"):
        steering.read_path(tmp_path / "a.path")


def test_without_input_nothing_is_processed(basf2: Any) -> None:
    with pytest.raises(InputError, match="no input files"):
        steering.run_steering(read_job(input_files=[]))
    assert basf2.processed == []


def test_without_a_job_the_steering_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAF_JOB", raising=False)
    with pytest.raises(InputError, match=r"no \$CAF_JOB"):
        steering.main()
