"""The algorithm process from the inside: requests, answers, and whatever an algorithm does wrong."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.worker.algorithm import serve
from airflow_provider_caf.worker.algorithm.serve import AlgorithmService, check_code, read_frame, write_frame
from airflow_provider_caf.worker.constants import save_payload
from tests.waiting import is_running, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def keep_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service sets handlers of crashes for its whole process; here that is the test's own."""
    monkeypatch.setattr(serve, "crash_plainly", lambda: None)


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask() -> Ask:
    service = AlgorithmService()
    return lambda do, **fields: service.answer({"do": do, **fields})


@pytest.fixture
def opened(ask: Ask, calibrators: Path, index: str) -> Ask:
    """A service with the algorithm open that gives the mean."""
    answer = ask("open", algorithm=f"{calibrators}:MeanAlgorithm", indexes=[index], database_chain=[])
    assert answer["ok"], answer
    return ask


def execute(ask: Ask, staging: Path, runs: list[list[int]], **fields: Any) -> dict[str, Any]:
    return ask("execute", key=0, runs=runs, iov=[*runs[0], *runs[-1]], staging=str(staging), **fields)


def test_open_tells_what_was_collected(ask: Ask, calibrators: Path, index: str) -> None:
    answer = ask("open", algorithm=f"{calibrators}:MeanAlgorithm", indexes=[index], database_chain=[])
    assert answer.pop("memory_kb") > 1000
    assert answer == {"ok": True, "runs": [[1, 1], [1, 2], [1, 3], [2, 1]], "prefix": "Hits", "granularity": "run"}


def test_an_execution_sees_its_runs_and_stages_its_payloads(opened: Ask, tmp_path: Path) -> None:
    answer = execute(opened, tmp_path, [[1, 1], [1, 2]])
    assert (answer["code"], answer["output"]) == (0, {"entries": 5.0})
    (payload,) = answer["payloads"]
    path = tmp_path / payload["file"]
    assert payload["name"] == "Mean"
    assert payload["iov"] is None
    assert hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == payload["revision"]
    assert path.stat().st_size == payload["size"]


def test_executions_do_not_see_one_another(opened: Ask, tmp_path: Path) -> None:
    first = execute(opened, tmp_path, [[1, 1]])
    second = execute(opened, tmp_path, [[2, 1]])
    assert execute(opened, tmp_path, [[1, 1]])["payloads"] == first["payloads"]
    assert second["payloads"][0]["revision"] != first["payloads"][0]["revision"]
    assert second["output"] == {"entries": 2.0}


def test_settings_stay_for_later_executions(opened: Ask, tmp_path: Path) -> None:
    answer = execute(opened, tmp_path, [[1, 1]], settings={"least": 100})
    assert (answer["code"], answer["payloads"]) == (int(ResultCode.NOT_ENOUGH_DATA), [])
    assert execute(opened, tmp_path, [[1, 1]])["code"] == 2


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"leest": 3}, "has no setting 'leest'"),
        ({"calibrate": 3}, "has no setting 'calibrate'"),
        ({"runs": []}, "has no setting 'runs'"),
        ({"_session": 1}, "has no setting '_session'"),
    ],
)
def test_settings_that_are_none_are_refused(
    ask: Ask, calibrators: Path, index: str, settings: dict[str, Any], text: str
) -> None:
    reference = f"{calibrators}:MeanAlgorithm"
    answer = ask("open", algorithm=reference, indexes=[index], database_chain=[], settings=settings)
    assert answer["error"]["kind"] == "DefinitionError"
    assert text in answer["error"]["message"]
    assert "Known settings: least, prefix." in answer["error"]["hint"]


def test_boundaries_are_asked_run_by_run(opened: Ask) -> None:
    answer = opened("boundaries", runs=[[1, 1], [1, 2], [1, 3]])
    assert answer["boundaries"] == [[1, 2], [1, 3]]


def test_an_algorithm_without_boundaries_says_so(ask: Ask, calibrators: Path, index: str) -> None:
    ask("open", algorithm=f"{calibrators}:BrokenAlgorithm", indexes=[index], database_chain=[])
    answer = ask("boundaries", runs=[[1, 1]])
    assert "'BrokenAlgorithm' cannot find payload boundaries" in answer["error"]["message"]
    assert "payload_boundaries" in answer["error"]["hint"]


@pytest.mark.parametrize(
    ("mode", "kind", "text"),
    [
        ("raise", "Raised", "ValueError: the fit did not converge"),
        ("throw", "Raised", "out_of_range"),
        ("exit", "Raised", "SystemExit: 3"),
        ("none", "DefinitionError", "gave None, which is no result code"),
        ("true", "DefinitionError", "gave True, which is no result code"),
        ("ten", "DefinitionError", "gave 10, which is no result code"),
        ("text", "DefinitionError", "gave 'OK', which is no result code"),
    ],
)
def test_what_goes_wrong_is_an_answer_and_the_service_goes_on(
    ask: Ask, calibrators: Path, index: str, tmp_path: Path, mode: str, kind: str, text: str
) -> None:
    settings = {"mode": mode}
    reference = f"{calibrators}:BrokenAlgorithm"
    assert ask("open", algorithm=reference, indexes=[index], database_chain=[], settings=settings)["ok"]
    for _ in range(2):
        answer = execute(ask, tmp_path, [[1, 1]])
        assert answer["ok"] is False
        assert answer["error"]["kind"] == kind
        assert text in answer["error"]["message"]
        assert "Traceback" in answer["error"]["traceback"]


def test_the_prefix_of_the_definition_wins(ask: Ask, calibrators: Path, index: str, other_index: str) -> None:
    reference = f"{calibrators}:MeanAlgorithm"
    answer = ask("open", algorithm=reference, indexes=[index, other_index], database_chain=[], prefix="Other")
    assert (answer["prefix"], answer["runs"]) == ("Other", [[1, 1]])
    answer = ask("open", algorithm=reference, indexes=[other_index], database_chain=[])
    assert "needs what a collector with the prefix 'Hits' collects" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"do": "dance"}, "There is no request 'dance'"),
        ({}, "has no 'do'"),
        ({"do": "execute"}, "No algorithm is open"),
        ({"do": "boundaries"}, "No algorithm is open"),
        ({"do": "open", "indexes": []}, "has no 'algorithm'"),
        ({"do": "close", "now": True}, "unknown field 'now'"),
    ],
)
def test_requests_that_cannot_be_are_refused(request_: dict[str, Any], text: str) -> None:
    answer = AlgorithmService().answer(request_)
    assert answer["error"]["kind"] == "DefinitionError"
    assert text in answer["error"]["message"]


WRITTEN = """
from airflow_provider_caf.worker import Algorithm, ResultCode


class Writer(Algorithm):
    what = ""

    def calibrate(self):
        return getattr(self, self.what)() or ResultCode.OK

    def outside(self):
        self.get("x", runs=[(2, 1)])

    def part(self):
        self.output = [self.get("x", runs=[(1, 1)]).GetEntries(), self.get("x") is self.get("x"), self.count_events()]

    def twice(self):
        self.save_payload(1, "P")
        self.save_payload(2, "P")

    def intra(self):
        self.save_payload(1, "P", (1, 1, 1, 1))
        self.save_payload(2, "P", iov=[1, 2, 1, -1])
        self.save_payload(3, "P")

    def wrong_iov(self):
        self.save_payload(1, "P", (3, 1, 1, 1))

    def nan(self):
        self.output["x"] = float("nan")

    def numpy(self):
        import numpy as np

        self.output["x"] = np.arange(3)

    def constants(self):
        self.output = [self.get_payload("Old"), self.get_payload("Old", (1, 9)), self.iteration, list(self.iov)]

    def message(self):
        self.output = {"got": self.input}

    def no_constants(self):
        self.get_payload("Nothing")

    def files(self):
        self.output = [len(self.input_files), len(self.collected_runs), self.list_names()]


def before(algorithm):
    algorithm.what = "files"
    algorithm.prepared = algorithm.input_files
"""


@pytest.fixture
def writer(ask: Ask, tmp_path: Path, index: str) -> Callable[[str], dict[str, Any]]:
    """Give a function that executes one method of an algorithm."""
    module = tmp_path / "writer.py"
    module.write_text(WRITTEN)
    database = tmp_path / "db"
    database.mkdir()
    lines = [f"dbstore/Old {save_payload(v, 'Old', database)[0]} 1,{v},1,{v}\n" for v in (1, 9)]
    (database / "database.txt").write_text("".join(lines))
    staging = tmp_path / "staging"
    staging.mkdir()

    def run(what: str, **fields: Any) -> dict[str, Any]:
        chain = [{"kind": "local", "path": str(database)}]
        opened = ask(
            "open",
            algorithm=f"{module}:Writer",
            indexes=[index],
            database_chain=chain,
            iteration=2,
            settings={"what": what},
            **fields,
        )
        assert opened["ok"], opened
        return execute(ask, staging, [[1, 1], [1, 2]])

    return run


def test_payloads_may_have_iovs_of_their_own(writer: Callable[[str], dict[str, Any]]) -> None:
    payloads = writer("intra")["payloads"]
    assert [payload["iov"] for payload in payloads] == [[1, 1, 1, 1], [1, 2, 1, -1], None]


def test_constants_come_through_the_chain(writer: Callable[[str], dict[str, Any]]) -> None:
    assert writer("constants")["output"] == [1, 9, 2, [1, 1, 1, 2]]


def test_an_input_is_there_for_one_execution(writer: Callable[[str], dict[str, Any]], ask: Ask, tmp_path: Path) -> None:
    assert writer("message")["output"] == {"got": None}
    request = {"key": 1, "runs": [[1, 1]], "iov": [1, 1, 1, 1], "staging": str(tmp_path / "staging")}
    assert ask("execute", input={"mean": [1.5]}, **request)["output"] == {"got": {"mean": [1.5]}}
    assert ask("execute", **request)["output"] == {"got": None}


def test_get_may_ask_fewer_runs_and_gives_the_same_object(writer: Callable[[str], dict[str, Any]]) -> None:
    assert writer("part")["output"] == [2.0, True, 5]


def test_numpy_output_becomes_plain(writer: Callable[[str], dict[str, Any]]) -> None:
    assert writer("numpy")["output"] == {"x": [0, 1, 2]}


def test_a_function_runs_before_the_first_execution(writer: Any, tmp_path: Path) -> None:
    answer = writer("", pre_algorithm=f"{tmp_path / 'writer.py'}:before")
    assert answer["output"] == [1, 4, ["hits", "x"]]


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("outside", "asks for 'x' of runs outside of this execution: 2.1"),
        ("twice", "saves payload 'P' twice with the same IoV"),
        ("wrong_iov", "ends before it starts"),
        ("nan", "The output of the algorithm 'Writer'['x'] holds nan"),
        ("no_constants", "There is no payload 'Nothing' for run 1.1. Looked in:"),
    ],
)
def test_mistakes_are_told(writer: Callable[[str], dict[str, Any]], what: str, text: str) -> None:
    answer = writer(what)
    assert answer["ok"] is False
    assert text in answer["error"]["message"]


def test_a_full_disk_is_told_and_nothing_is_left(writer: Any, tmp_path: Path, small_disk: Any) -> None:
    with small_disk(100):
        answer = writer("intra")
    assert answer["error"]["kind"] == "CafError"
    assert "could not be written: File too large" in answer["error"]["message"]
    assert list((tmp_path / "staging").iterdir()) == []


@pytest.mark.parametrize("value", [0, ResultCode.ITERATE, 4])
def test_codes_are_taken_as_numbers(value: Any) -> None:
    assert check_code(value, "algorithm") == int(value)


def test_codes_of_a_cpp_enum_are_taken(root: Any) -> None:
    root.gInterpreter.Declare("namespace caf_test { enum EResult { c_OK, c_Iterate }; }")
    assert check_code(root.caf_test.c_Iterate, "algorithm") is ResultCode.ITERATE
    with pytest.raises(DefinitionError):
        check_code(object(), "algorithm")


JSON = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=4), max_leaves=10)


@given(values=st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=4))
def test_frames_come_back(values: list[dict[str, Any]]) -> None:
    read_end, write_end = os.pipe()
    try:
        for value in values:
            write_frame(write_end, value)
        os.close(write_end)
        assert [read_frame(read_end) for _ in values] == json.loads(json.dumps(values))
        assert read_frame(read_end) is None
    finally:
        os.close(read_end)


def test_half_a_frame_is_the_end() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"\0\0\0\x09{")
    os.close(write_end)
    assert read_frame(read_end) is None
    os.close(read_end)


LIVE = """
import os, subprocess, sys, time
from airflow_provider_caf.worker.algorithm.serve import die_with
from tests.waiting import is_running, wait_until
die_with(int(sys.argv[1]))
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_what_an_algorithm_has_started_ends_with_whoever_started_the_algorithm() -> None:
    """Nobody tells it: the one that would is dead."""
    life, held = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", LIVE, str(life)],
        pass_fds=(life,),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    os.close(life)
    with process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        os.close(held)
        # Both held this pipe's other end, and have let go of it.
        assert process.stdout.read() == ""
    assert process.returncode == -signal.SIGIO
    wait_until(lambda: not is_running(child))
