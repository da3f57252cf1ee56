"""What the user's code raises: its own lines, and the file, entry and run at which it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.worker.collect.collector import Collector, run_collector
from airflow_provider_caf.worker.tracebacks import find_own_frames, format_error, has_own_frames, list_places

ROWS = [(11, 8, 1.0), (11, 8, 2.0), (11, 9, 3.0), (11, 9, 0.0)]


class Divides(Collector):
    def collect(self, event: Any) -> None:
        1 / event.x


class DividesMany(Collector):
    def collect_many(self, events: Any) -> None:
        [1 / value for value in events.x.tolist()]


class Begins(Collector):
    def start_run(self) -> None:
        assert self.current_run is not None
        1 / (9 - self.current_run.run)

    def collect(self, event: Any) -> None:
        pass


class FindsRun(Collector):
    def exp_run(self, event: Any) -> Any:
        1 / event.x

    def collect(self, event: Any) -> None:
        pass


class Books(Collector):
    def collect_frame(self, frame: Any, run: Any) -> None:
        1 / (9 - run.run)


class NoTree(Collector):
    def run_over(self, files: Any) -> None:
        for path in files:
            for exp, run, value in ROWS:
                self.process_event((exp, run), value, path)  # type: ignore[arg-type]

    def collect(self, event: Any) -> None:
        1 / event


class Throws(Collector):
    def collect(self, event: Any) -> None:
        import ROOT

        if not event.x:
            ROOT.std.vector("int")().at(3)


class AsksForNothing(Collector):
    def collect(self, event: Any) -> None:
        self.get("typo")


@pytest.fixture
def muons(tmp_path: Path, make_events: Any) -> str:
    return str(make_events(tmp_path / "muons.root", ROWS))


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (Divides, "entry 3, run 11.9"),
        (DividesMany, "entries 2 to 3, run 11.9"),
        (Begins, "entry 2, run 11.9"),
        (FindsRun, "entry 3"),
        (Books, "run 11.9"),
        (NoTree, "event 3, run 11.9"),
        (Throws, "entry 3, run 11.9"),
        (AsksForNothing, "entry 0, run 11.8"),
    ],
)
def test_every_hook_says_where_in_the_input_it_was(
    kind: type[Collector], place: str, muons: str, tmp_path: Path
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any kind
        run_collector(kind(), [muons], (), str(tmp_path / "out.root"))
    told = f"while reading muons.root, {place}, in {tmp_path}"
    assert list_places(caught.value) == [told]
    text = format_error(caught.value)
    assert text.endswith(f"{told}\n")
    assert Path(__file__).name in text
    assert "airflow_provider_caf/worker" not in text


def test_an_error_that_names_the_file_is_left_as_it_is(muons: str, tmp_path: Path) -> None:
    class Asks(Collector):
        def collect(self, event: Any) -> None:
            print(event.mess)

    with pytest.raises(InputError, match="no branch 'mess'") as caught:
        run_collector(Asks(), [muons], (), str(tmp_path / "out.root"))
    assert list_places(caught.value) == []
    text = format_error(caught.value)
    assert "print(event.mess)" in text
    assert "\nInputError: The tree 'events' in " in text
    for ours in ("KeyError", "airflow_provider_caf"):
        assert ours not in text
    # The debugger stands at the user's line all the same.
    frames = find_own_frames(caught.value)
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    assert frames is not None
    assert frames.tb_frame.f_code.co_filename == __file__


def test_what_led_to_an_error_of_the_user_is_kept(muons: str, tmp_path: Path) -> None:
    class Chains(Collector):
        def collect(self, event: Any) -> None:
            try:
                try:
                    print(event.mess)
                except InputError:
                    int("no number")
            except ValueError as error:
                raise RuntimeError("the last") from error

    with pytest.raises(RuntimeError, match="the last") as caught:
        run_collector(Chains(), [muons], (), str(tmp_path / "out.root"))
    text = format_error(caught.value)
    order = ["InputError: The tree", "During handling", "ValueError: invalid", "direct cause", "RuntimeError: the last"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "airflow_provider_caf" not in text
    assert "KeyError" not in text


def test_an_error_of_ours_alone_keeps_its_frames(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run_collector(Divides(), ["/nowhere.root"], (), str(tmp_path / "out.root"))
    error = caught.value
    assert error.__traceback__ is not None
    # What called it is of this file, which stands for the user's.
    error.__traceback__ = error.__traceback__.tb_next
    assert "in run_collector" in format_error(error)
    assert not has_own_frames(error)
    assert find_own_frames(error) is error.__traceback__


def test_a_real_job_says_it_too(muons: str, tmp_path: Path) -> None:
    module = tmp_path / "dividing.py"
    module.write_text(
        "from airflow_provider_caf.worker import Collector\n\n\n"
        "class Divides(Collector):\n    def collect(self, event):\n        1 / event.x\n"
    )
    app = tmp_path / "app.pyz"
    build_job_app(app, [f"{module}:Divides"])
    job = {"version": 1, "collection": "default", "collector": f"{module}:Divides", "input_files": [muons]}
    (tmp_path / "job.json").write_text(json.dumps(job))
    words = [sys.executable, str(app), "collect", str(tmp_path / "job.json")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    *_, error, place = done.stderr.strip().splitlines()
    assert error == "ZeroDivisionError: float division by zero"
    assert place == f"while reading muons.root, entry 3, run 11.9, in {tmp_path}"
    assert "dividing.py" in done.stderr
    assert "airflow_provider_caf" not in done.stderr
