"""A request to the job app and its answer, also where app and caller are of different versions."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import InputError, TransportError, TransportTimeout
from airflow_provider_caf.steps.app_run import Answer, AppFiles, run_app
from airflow_provider_caf.worker import __main__ as door

if TYPE_CHECKING:
    from tests.unit.conftest import Lab

ECHO = """
import json, os, sys
from pathlib import Path
verb, request, *more = sys.argv[1:]
print("hello", os.environ.get("OF_THE_JOBS"))
value = json.loads(Path(request).read_text())
if value.get("breaks"):
    sys.exit(value["breaks"])
if value.get("hangs"):
    import time; time.sleep(600)
if more and not value.get("silent"):
    Path(more[1]).write_text(json.dumps([verb, value, more[0], str(Path(request).parent)]))
"""


@pytest.fixture
def ask(tmp_path: Path) -> Any:
    """Return a function that asks an app which answers with what it was asked."""
    app = tmp_path / "app.py"
    app.write_text(ECHO)

    def run(request: dict[str, Any], **options: Any) -> Answer:
        resources = Resources(environment={"OF_THE_JOBS": "set"})
        return run_app("look", request, app, resources, **{"what": "Looking", "timeout": 60.0, **options})

    return run


def test_a_request_is_answered_and_leaves_nothing(ask: Any) -> None:
    answer = ask({"files": ["a"]})
    verb, request, option, folder = answer.value
    assert (verb, request, option) == ("look", {"version": 1, "files": ["a"]}, "--output")
    assert answer.printed == "hello set"
    assert not Path(folder).exists()


def test_files_that_stay_are_private_and_an_old_answer_does_not_count(ask: Any, tmp_path: Path) -> None:
    files = AppFiles(request=tmp_path / "asked.json", answer=tmp_path / "told.json", log=tmp_path / "log")
    assert ask({}, files=files).value == json.loads((tmp_path / "told.json").read_text())
    assert stat.S_IMODE((tmp_path / "asked.json").stat().st_mode) == 0o600
    assert (tmp_path / "log").read_text() == "hello set\n"
    with pytest.raises(TransportError, match=r"^Looking ended with exit code 0 and left no answer:\nhello set"):
        ask({"silent": True}, files=files)
    assert ask({}, files=AppFiles(request=tmp_path / "asked.json", answer=None)) == Answer(
        value=None, printed="hello set"
    )


def test_a_verb_that_fails_is_told_with_what_it_printed(ask: Any) -> None:
    with pytest.raises(InputError, match=r"^Looking ended with exit code 7:\nhello set") as caught:
        ask({"breaks": 7}, error=InputError, hint="Look elsewhere.")
    assert caught.value.hint == "Look elsewhere."
    with pytest.raises(TransportTimeout, match=r"gave no answer in 0\.5 s"):
        ask({"hangs": True}, timeout=0.5)


EARLIER_COMMANDS = [
    ["describe", "{request}", "--output", "{answer}"],
    ["describe", "{request}", "--out-fd", "1"],
    ["merge", "{request}"],
    ["metadata", "{request}", "--output", "{answer}"],
    ["script", "{request}", "--output", "{answer}"],
    ["validate", "{request}"],
    ["values", "{request}", "--output", "{answer}"],
]
"""What callers of earlier versions write, and all that their apps understand."""


@pytest.mark.parametrize("words", EARLIER_COMMANDS, ids=" ".join)
def test_a_command_line_of_an_earlier_version_is_understood(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"request": str(tmp_path / "request.json"), "answer": str(tmp_path / "answer.json")}
    # It is understood as far as the request, which is not there. Else argparse would end the program.
    assert door.main([word.format(**places) for word in words]) == door.EXIT_ERROR
    assert f"{places['request']} cannot be read" in capsys.readouterr().err


EARLIER_APP = f"""
import subprocess, sys
commands = {EARLIER_COMMANDS!r}
given = sys.argv[1:]
known = [words for words in commands if len(words) == len(given)
         and all(word == other or word[0] == "{{" for word, other in zip(words, given))]
if given[0] in [words[0] for words in commands] and not known:
    sys.exit(f"an earlier app does not know {{given}}")
sys.exit(subprocess.run([sys.executable, sys.argv[0] + ".real", *given]).returncode)
"""


@pytest.mark.slow
def test_a_run_goes_on_with_the_app_of_an_earlier_version(lab: Lab) -> None:
    lab.prepare(lab.calibration(collections={"default": lab.copies()}))
    lab.collect()
    app = lab.layout().app
    app.rename(f"{app}.real")
    app.write_text(EARLIER_APP)
    assert lab.merge().runs == 4
    with pytest.raises(TransportError, match=r"an earlier app does not know \['merge', .*'--output'"):
        run_app("merge", {}, app, Resources(python=sys.executable), what="Merging", timeout=60)
