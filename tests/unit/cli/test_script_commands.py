"""`airflow caf import-script` and `import-scripts`, called as Airflow calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.caf_command import run
from tests.script_site import BAD_SCRIPTS, SETUP, write_json

pytestmark = pytest.mark.slow


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The options that every import has."""
    data = write_json(tmp_path / "input_data.json", {"raw_physics": [["root://server.example//a.root", [1, 1]]]})
    setup = [word for line in SETUP for word in ("--setup", line)]
    return ["--input-data", data, "--output", str(tmp_path / "definitions"), *setup]


def test_a_folder_with_bad_scripts_tells_which_and_why(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("_common.py", "no_settings.py", "import_error.py"):
        shutil.copy(BAD_SCRIPTS / name, scripts)
    assert run("import-scripts", str(scripts), *words) == 1
    shown = capsys.readouterr().out
    assert "no_settings.py: " in shown
    assert "has no 'settings'" in shown
    assert "No module named 'no_such_module_of_anybody'" in shown
    assert "Imported: 0. Refused: 2." in shown
    assert run("import-scripts", str(scripts), *words, "--json") == 1
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (answer["imported"], answer["runners"]) == ([], [])
    assert sorted(answer["failed"]) == ["import_error.py", "no_settings.py"]


def test_a_bad_script_is_told(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import-script", str(BAD_SCRIPTS / "no_function.py"), *words) == 1
    assert "has no 'get_calibrations'" in capsys.readouterr().err
    assert list((tmp_path / "definitions").iterdir()) == []


def test_what_is_given_is_checked_before_the_script_runs(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    script = str(BAD_SCRIPTS / "no_function.py")
    other = write_json(tmp_path / "caf_config.json", {"caf_script": "another_one"})
    assert run("import-script", script, *words, "--caf-config", other) == 1
    assert "for the script 'another_one', not for" in capsys.readouterr().err
    wrong = write_json(tmp_path / "wrong.json", {"requested_iov": [1, 2, 3]})
    assert run("import-script", script, *words, "--caf-config", wrong) == 1
    assert str(wrong) in capsys.readouterr().err
    assert run("import-script", "/nowhere/script.py", *words) == 1
    assert "There is no script '/nowhere/script.py'" in capsys.readouterr().err
    assert run("import-scripts", "/nowhere", *words) == 1
    assert "There is no folder '/nowhere'" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "said"), [("[1]", "is no mapping"), ("{", "is no JSON")])
def test_input_data_of_another_form_are_refused(
    text: str, said: str, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "input_data.json").write_text(text)
    assert run("import-script", str(BAD_SCRIPTS / "no_function.py"), *words) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--path-prefix", "--heartbeat", "--global-job-limit"])
def test_options_of_the_experiments_tool_that_are_not_here_are_refused(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("import-script", "caf_cdc.py", "--input-data", "input_data.json", option, "1")
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err
