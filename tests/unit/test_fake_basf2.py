"""The stand-in for basf2: it does what scripts written for the real one expect, in processes of its own.

These tests run when the stand-in or they themselves have changed; `make test-fakes` runs them in any case.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tested import is_tested

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(is_tested(), reason="the stand-in for basf2 is as it was when it was tested"),
]

BASF2 = Path(__file__).parents[1] / "fakes" / "basf2"
RUNS = [(1, 1, 40, 1.0), (1, 2, 20, 2.0), (2, 1, 40, 3.0)]
"""Experiment, run, events and mean."""

COLLECT = f"""
import sys
sys.path.insert(0, {str(BASF2)!r})
import basf2
from basf2.pickle_path import serialize_path
from make_data import write_events

write_events("a.root", {RUNS[:1]}, {{"mumu": [1, 0], "bhabha": 1}})
write_events("b.root", {RUNS[1:]}, {{"mumu": [1, 0], "bhabha": 1}})
path = basf2.create_path()
path.add_module("RootInput", inputFileNames=["[ab].root"], entrySequences=["0:39", ":59"])
path.add_module("HistoManager", histoFileName="CollectorOutput.root")
skim = path.add_module("TriggerSkim", triggerLines=["mumu"])
skim.if_value("==0", basf2.create_path(), basf2.AfterConditionPath.END)
path.add_module("CaTest", granularity="run", sideFile="mumu.mille")
every = basf2.register_module("CaTest")
every.set_name("CaEvery")
fourth = path.add_module("TriggerSkim", triggerLines=[("bhabha", 2)], useRandomNumbersForPreScale=False)
behind = basf2.create_path()
behind.add_module(every, granularity="all")
fourth.if_true(behind, basf2.AfterConditionPath.CONTINUE)
with open("whole.path", "w") as file:
    file.write(repr(serialize_path(path)))
basf2.process(path)
"""

RESTORE = """
import ast
import basf2
from pickle_path import deserialize_path, serialize_path

value = ast.literal_eval(open("whole.path").read())
path = deserialize_path(value)
assert serialize_path(path) == value
next(each for each in path.modules() if each.name() == "HistoManager").param("histoFileName", "Again.root")
basf2.process(path)
"""

READ = """
import json
import ROOT

def read(folder):
    found = {}
    for key in folder.GetListOfKeys():
        item = folder.Get(key.GetName())
        if isinstance(item, ROOT.TDirectory):
            found[key.GetName()] = read(item)
        else:
            found[key.GetName()] = item.GetEntries() if hasattr(item, "GetEntries") else item.GetTitle()
    return found

print("SAY", json.dumps([read(ROOT.TFile.Open(name)) for name in ("CollectorOutput.root", "Again.root")]))
"""


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line in the shell of somebody who has sourced the setup."""
    text = f"set -eu\nexport FAKE_BASF2_PYTHON='{sys.executable}'\nsource '{BASF2}/setup.sh'\n{line}"
    return subprocess.run(["bash", "-c", text], cwd=folder, capture_output=True, text=True, check=False)


def steer(folder: Path, text: str, command: str = "basf2") -> Any:
    """Run a steering file, and give what it prints as JSON behind `SAY`."""
    (folder / "steering.py").write_text(text, encoding="utf-8")
    done = shell(folder, f"{command} steering.py")
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("SAY ")]
    return json.loads(said[-1][4:]) if said else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two collectors have collected."""
    folder = tmp_path_factory.mktemp("basf2")
    steer(folder, COLLECT)
    return folder


def test_a_restored_path_collects_the_same(folder: Path) -> None:
    steer(folder, RESTORE)
    first, again = steer(folder, READ, '"$FAKE_BASF2_PYTHON" -W ignore')
    assert first == again
    assert first["CaTest"]["RunRange"] == "run (1,1)(1,2)(2,1)"
    # The trigger line said yes to every other event, and the second collector sees every other one of those.
    assert first["CaTest"]["MyHisto"] == {"MyHisto_1.1": 20, "MyHisto_1.2": 10, "MyHisto_2.1": 20}
    assert first["CaTest"]["MyTree"] == {"MyTree_1.1": 20, "MyTree_1.2": 10, "MyTree_2.1": 20}
    assert first["CaEvery"]["MyHisto"] == {"MyHisto_-1.-1": 25}
    assert first["CaEvery"]["RunRange"] == "all (1,1)(1,2)(2,1)"
    assert len((folder / "mumu.mille").read_text("utf-8").splitlines()) == 50


def test_an_algorithm_is_executed_on_chosen_runs_and_commits(folder: Path) -> None:
    """Also with JSON in and out; basf2 itself is imported after ROOT."""
    said = steer(
        folder,
        """
import json
import ROOT
from ROOT.Belle2 import TestCalibrationAlgorithm
from basf2 import conditions

algo = TestCalibrationAlgorithm()
algo.setInputFileNames("CollectorOutput.root")
algo.setInputFileNames(("CollectorOutput.root",))
algo.setInputFileNames([])
algo.setInputFileNames(["nowhere.root"])
assert algo.getInputFileNames() == []
algo.setInputFileNames(["Collector*.root", "./CollectorOutput.root", "nowhere.root"])
algo.setInputFileNames("again.root")
said = {"files": algo.getInputFileNames(), "runs": [tuple(run) for run in algo.getRunListFromAllData()]}
said["bad"] = [algo.loadInputJson(text) for text in ("", "{", '{"a": 01x}', '{"a": NaN}')]
said["good"] = algo.loadInputJson(json.dumps({"offset": 100, "text": "a\\n\\u00e4", "list": [1, {"b": None}]}))
algo.setMinEntries(1000)
said["few"] = algo.execute([(1, 1), (1, 2)])
algo.setMinEntries(30)
said["code"] = algo.execute([(1, 1), (1, 2)], 0, ROOT.Belle2.IntervalOfValidity(1, 0, 1, -1))
said["output"] = json.loads(str(algo.dumpOutputJson()))
kept = type(algo).Results(algo.getResults())
payloads = algo.getPayloadValues()
payloads.front().iov = ROOT.Belle2.IntervalOfValidity(3, 1, -1, -1)
conditions.expert_settings(save_payloads="chosen/database.txt")
said["committed"] = [algo.commit(), algo.commit(payloads)]
said["all"] = [algo.execute(), str(algo.getIov().text()), kept.getEntries(), algo.getEntries()]
algo.setIterations(2)
said["codes"] = [algo.execute([], iteration) for iteration in range(3)]
algo.setPrefix("CaEvery")
said["before"] = str(algo.getGranularity())
algo.setInputFileNames(["CollectorOutput.root"])
said["other"] = [algo.execute([(1, 1)]) == algo.c_OK, str(algo.getGranularity()), algo.getEntries()]
print("SAY", json.dumps(said))
""",
    )
    assert said["files"] == [str((folder / "CollectorOutput.root").resolve())]
    assert said["runs"] == [[1, 1], [1, 2], [2, 1]]
    assert (said["bad"], said["good"]) == ([False] * 4, True)
    assert (said["few"], said["code"], said["codes"]) == (2, 0, [1, 1, 0])
    assert said["output"]["entries"] == 30
    assert said["output"]["mean"] == pytest.approx(101.33, abs=0.6)
    assert said["committed"] == [True, True]
    assert said["all"] == [0, "1,1,2,1", 30, 50]
    assert said["before"] == "run"
    assert said["other"] == [False, "all", 25]
    lines = [line.split() for line in (folder / "chosen" / "database.txt").read_text("utf-8").splitlines()]
    assert [(name, iov) for name, _, iov in lines] == [
        ("dbstore/TestCalibMean", "1,0,1,-1"),
        ("dbstore/TestCalibMean", "3,1,-1,-1"),
    ]
    assert all((folder / "chosen" / f"dbstore_TestCalibMean_rev_{revision}.root").exists() for _, revision, _ in lines)


def test_boundaries(folder: Path) -> None:
    said = steer(
        folder,
        """
import json
from ROOT.Belle2 import TestBoundarySettingAlgorithm

algo = TestBoundarySettingAlgorithm()
algo.setInputFileNames(["CollectorOutput.root"])
algo.setBoundaries([(2, 1), (7, 7)])
runs = algo.getRunListFromAllData()
print("SAY", json.dumps([[tuple(run) for run in algo.findPayloadBoundaries(given)] for given in (runs, [], [(1, 2)])]))
""",
        '"$FAKE_BASF2_PYTHON" -W ignore',
    )
    assert said == [[[1, 1], [2, 1]], [[1, 1], [2, 1]], [[1, 2]]]


def test_the_database_chain_is_looked_through_in_order(folder: Path) -> None:
    said = steer(
        folder,
        """
import json, os
from basf2 import conditions

os.environ["FAKE_BASF2_GLOBALTAGS"] = os.path.abspath("tags")
conditions.prepend_globaltag("tag")
import ROOT

def save(place, *values):
    conditions.expert_settings(save_payloads=place + "/database.txt")
    for value, iov in values:
        constant = ROOT.TParameter("double")("Test", value)
        assert ROOT.Belle2.Database.Instance().storeData("Test", constant, ROOT.Belle2.IntervalOfValidity(*iov))

def look(*run):
    found = ROOT.Belle2.Database.Instance().getData("Test", *run)
    return found.GetVal() if found else None

save("tags/tag", (1, (0, 0, -1, -1)))
save("tags/main_fake", (9, (0, 0, -1, -1)))
save("one", (2, (5, 0, -1, -1)), (3, (5, 4, 5, 4)))
save("two", (4, (5, 0, 6, -1)))
said = [look(5, 1)]
conditions.append_testing_payloads("one/database.txt")
said += [look(4, 9), look(5, 1), look(5, 4), look(9, 0)]
conditions.testing_payloads.insert(0, "two/database.txt")
said += [look(4, 9), look(5, 4), look(7, 0)]
conditions.reset()
said += [look(5, 4)]
conditions.override_globaltags()
said += [look(5, 4)]
print("SAY", json.dumps(said))
""",
    )
    assert said == [1, 1, 2, 3, 2, 1, 4, 2, 9, None]


def test_a_chain_of_algorithms_and_children_that_are_spawned(folder: Path) -> None:
    said = steer(
        folder,
        """
import json
import multiprocessing

def run(number):
    from basf2 import conditions
    from ROOT.Belle2 import ChainAlgorithm

    conditions.prepend_testing_payloads("chain/database.txt")
    conditions.expert_settings(save_payloads="chain/database.txt")
    algo = ChainAlgorithm()
    algo.setInputFileNames(["CollectorOutput.root"])
    algo.setNames(f"C{number}", f"C{number - 1}" if number else "")
    code = algo.execute()
    algo.commit()
    return code, algo.getPayloads().front().object.GetVal() if code == 0 else None

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print("SAY", json.dumps(pool.map(run, (0, 1, 5))))
""",
        '"$FAKE_BASF2_PYTHON" -W ignore',
    )
    assert said == [[0, 1], [0, 2], [3, None]]


def test_modules_in_python_work_but_do_not_travel(folder: Path) -> None:
    said = steer(
        folder,
        """
import json
import basf2
from basf2.pickle_path import serialize_path

class Count(basf2.Module):
    def initialize(self):
        self.said = ["initialize"]

    def beginRun(self):
        self.said.append("beginRun")

    def event(self):
        self.said[-1] = "event"

    def endRun(self):
        self.said.append("endRun")

    def terminate(self):
        self.said.append("terminate")

path = basf2.create_path()
path.add_module("EventInfoSetter", expList=[1, 1], runList=[1, 2], evtNumList=[3, 2])
count = path.add_module(Count())
basf2.process(path)
errors = []
for mistake in (lambda: serialize_path(path), lambda: basf2.register_module("Nope"), lambda: count.param("x", 1),
                lambda: path.add_module("CaTest", granularity=3), lambda: count.if_value("~1", path),
                lambda: count.if_value("1", path), lambda: path.add_module("RootInput", inputFileNames=("a", "b")),
                lambda: path.add_module("EventInfoSetter", evtNumList=[1.5])):
    try:
        mistake()
    except Exception as error:
        errors.append(f"{type(error).__name__}: {error.args[0]}")
print("SAY", json.dumps([count.said, basf2.statistics.get(count)[0], errors]))
""",
    )
    assert said[:2] == [["initialize", "event", "endRun", "event", "endRun", "terminate"], 5]
    assert said[2] == [
        "RuntimeError: Module 'Count' is a Python module, which cannot be dumped!",
        "RuntimeError: Cannot create module Nope: The module is not known to the framework!",
        "RuntimeError: Could not find the parameter with the name 'x'! The value of the parameter could NOT be set.",
        "RuntimeError: Could not convert value: Expected type 'str' instead of 'int'.",
        "RuntimeError: Invalid condition: could not parse condition: '~1'!",
        "RuntimeError: Invalid condition: could not parse condition: '1'!",
        "RuntimeError: Could not convert value: Expected type 'str' instead of 'tuple'.",
        "RuntimeError: Could not convert value: Expected type 'int' instead of 'float'.",
    ]


def test_paths_modules_and_their_parameters_are_written_as_there(folder: Path) -> None:
    """`Path::getPathString`, `Module::getPathString`, `serialize_module` and `PyObjConvUtils` of the real one."""
    said = steer(
        folder,
        """
import json
import basf2
from basf2.pickle_path import deserialize_path, serialize_path

path, inner, behind = (basf2.create_path() for _ in range(3))
path.add_path(inner)
path.add_module("EventInfoSetter", evtNumList=100)
skim = inner.add_module("TriggerSkim", triggerLines="mumu", skipFirstNEvents=True, logLevel=basf2.LogLevel.ERROR)
skim.if_true(behind)
skim.if_value(" = -2 ", behind, basf2.AfterConditionPath.CONTINUE)
behind.add_module("Progress").set_name("Behind")
value = serialize_path(path)
assert serialize_path(deserialize_path(value)) == value
print("SAY", json.dumps([str(path), str(skim), str(basf2.register_module("CaTest")), value]))
""",
    )
    skim = "TriggerSkim(? >=1[Behind] )(? ==-2[Behind] )"
    assert said[:3] == [f"[[{skim}] -> EventInfoSetter]", skim, "CaTest"]
    behind = {"modules": [{"name": "Behind", "type": "Progress", "flag": False, "parameters": [], "condition": None}]}
    assert said[3]["modules"][0] == {
        "name": "TriggerSkim",
        "type": "TriggerSkim",
        "flag": False,
        "parameters": [{"name": "skipFirstNEvents", "values": 1}, {"name": "triggerLines", "values": ["mumu"]}],
        "condition": [
            {"value": 1, "operator": 2, "path": behind, "option": 0},
            {"value": -2, "operator": 4, "path": behind, "option": 1},
        ],
    }
    assert said[3]["modules"][1]["parameters"] == [{"name": "evtNumList", "values": [100]}]


def test_a_condition_needs_a_return_value(tmp_path: Path) -> None:
    text = """
import basf2
path = basf2.create_path()
path.add_module("EventInfoSetter").if_true(basf2.create_path())
basf2.process(path)
"""
    (tmp_path / "s.py").write_text(text, encoding="utf-8")
    done = shell(tmp_path, "basf2 s.py")
    assert done.returncode == 1
    assert (
        "[FATAL] A condition was set for 'EventInfoSetter', but the module did not set a return value!" in done.stdout
    )


def test_iovs_compare_as_the_real_class(tmp_path: Path) -> None:
    """See `tests/vectors/README.md`."""
    said = steer(
        tmp_path,
        """
import itertools, json
from ROOT.Belle2 import IntervalOfValidity

ends = [IntervalOfValidity(*numbers) for numbers in itertools.product(range(-1, 3), repeat=4)]
rows = {}
for question in ("contains", "overlaps"):
    bits = ("".join("01"[getattr(one, question)(other)] for other in ends) for one in ends)
    rows[question] = [f"{int(row, 2):064x}" for row in bits]
print("SAY", json.dumps(rows))
""",
        '"$FAKE_BASF2_PYTHON" -W ignore',
    )
    assert said == json.loads((BASF2.parents[1] / "vectors" / "iovs.json").read_text("utf-8"))


def test_the_release_is_in_a_module(tmp_path: Path) -> None:
    said = steer(
        tmp_path,
        """
import basf2, json
before = [hasattr(basf2, name) for name in ("version", "__version__")]
from basf2.version import get_version, release, version
print("SAY", json.dumps([before, basf2.basf2label, release, version, get_version()]))
""",
    )
    commit = "0" * 40
    assert said == [[False, False], "BASF2 (Belle Analysis Software Framework 2)", "fake-01-00-00", commit, commit]


@pytest.mark.parametrize(
    ("text", "words", "code", "told"),
    [
        ("import sys; print(sys.argv)", "--job-information info.json s.py -- -a b", 0, "['s.py', '-a', 'b']"),
        ("import basf2; basf2.B2FATAL('no', run=3)", "--job-information info.json s.py", 1, "[FATAL] no\n\trun = 3"),
        ("raise ValueError('bad')", "--job-information info.json -l error s.py", 1, "ValueError: bad"),
        ("", "--nonsense s.py", 2, "--nonsense"),
    ],
)
def test_the_command_line(tmp_path: Path, text: str, words: str, code: int, told: str) -> None:
    (tmp_path / "s.py").write_text(text, encoding="utf-8")
    done = shell(tmp_path, f"basf2 {words}")
    assert done.returncode == code
    assert told in done.stdout + done.stderr
    if code < 2:
        status = json.loads((tmp_path / "info.json").read_text("utf-8"))["basf2_status"]
        assert (status["finished"], status["success"]) == (True, code == 0)


def test_the_command_line_overrides_the_steering(folder: Path) -> None:
    text = """
import basf2

class Count(basf2.Module):
    def initialize(self):
        self.runs = []

    def event(self):
        self.runs.append(self.world.event.run)

path = basf2.create_path()
path.add_module("RootInput", inputFileNames=["nowhere.root"])
count = path.add_module(Count())
basf2.process(path)
print("SAY", count.runs)
"""
    assert steer(folder, text, "basf2 -i b.root -n 22") == [2] * 20 + [1] * 2
