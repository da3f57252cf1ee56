"""`airflow caf prompt-run` and `prompt-check`, called as Airflow calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from airflow.cli.cli_config import ActionCommand, GroupCommand

from airflow_provider_caf.cli.definition import get_caf_cli_commands
from tests.caf_command import run
from tests.script_site import BAD_SCRIPTS, SCRIPTS, SETUP, write_json

pytestmark = pytest.mark.slow

ENVIRONMENT = [word for line in SETUP for word in ("--setup", line)]


def test_a_script_is_set_up_in_the_environment_of_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    files = (
        write_json(tmp_path / "caf_config.json", {"caf_script": str(SCRIPTS / "eleven_chain.py")}),
        write_json(tmp_path / "input_data.json", {"mumu": [["root://server.example//a.root", [1, 1]]]}),
    )
    assert run("prompt-run", *ENVIRONMENT, "Local", *files, "--dry-run", "--permissive") == 0
    assert "caf: TestChain11: default (1 files); ChainAlgorithm" in capfd.readouterr().err
    assert run("prompt-run", *ENVIRONMENT, "Local", *files, "--dry-run") == 1
    assert "Give --permissive" in capfd.readouterr().err
    assert run("prompt-run", *ENVIRONMENT, "Local", "--help") == 0
    assert "--overwrite-working-dir" in capfd.readouterr().out
    assert run("prompt-run", "--python", "/none/python", "Local", *files) == 1
    assert "/none/python cannot be started" in capfd.readouterr().err


def test_a_folder_of_scripts_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("_common.py", "circular_a.py", "circular_b.py", "same_name_a.py", "same_name_b.py", "no_settings.py"):
        shutil.copy(BAD_SCRIPTS / name, tmp_path)
    shutil.copy(SCRIPTS / "example_simple.py", tmp_path)
    text = (SCRIPTS / "example_simple.py").read_text().replace('"Example Simple"', '"Odd"')
    (tmp_path / "odd.py").write_text(text.replace('["raw"]', '["raw", "mdts"]').replace('["Magnet"]', '["Magent"]'))
    assert run("prompt-check", str(tmp_path), *ENVIRONMENT, "--json") == 1
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert sorted(answer["scripts"]) == ["example_simple.py", "odd.py"]
    assert sorted(answer["failed"]) == [
        *("circular_a.py", "circular_b.py", "no_settings.py", "same_name_a.py", "same_name_b.py"),
    ]
    assert "depend on each other in a circle" in answer["failed"]["circular_a.py"]
    assert "have one name in their settings" in answer["failed"]["same_name_b.py"]
    assert answer["warnings"] == {
        "example_simple.py": [],
        "odd.py": [
            "There is no category of data filters 'Magent' here; it is taken as it is. Did you mean 'Magnet'?",
            "There is no data filter of the category 'Magent' 'On' here; it is taken as it is.",
            "There is no data format 'mdts' here; it is taken as it is. Did you mean 'mdst'?",
        ],
    }
    for name in answer["failed"]:
        (tmp_path / name).unlink()
    assert run("prompt-check", str(tmp_path), *ENVIRONMENT) == 0
    shown = capsys.readouterr().out
    assert "odd.py: 'Odd' on mdts, raw\n  note: There is no category of data filters 'Magent'" in shown
    assert "Good scripts: 2. Refused: 0." in shown
    assert run("prompt-check", "/nowhere") == 1
    assert "There is no folder '/nowhere'" in capsys.readouterr().err


def test_no_help_has_brackets_which_airflow_would_take_for_markup() -> None:
    (group,) = get_caf_cli_commands()
    assert isinstance(group, GroupCommand)
    texts = [str(command.help) for command in group.subcommands]
    for command in group.subcommands:
        assert isinstance(command, ActionCommand)
        texts += [str(flag.kwargs.get("help")) for flag in command.args]
    assert len(texts) > 50
    assert [text for text in texts if "[" in text] == []
