"""Scripts that cannot be used, described for real in the stand-in's environment: what their authors read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.caf_config import CafConfig
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.scripts.definition import ScriptImport
from airflow_provider_caf.scripts.folder import ScriptSet, import_set
from airflow_provider_caf.scripts.importing import import_script
from tests.script_site import BAD_SCRIPTS, SETUP

pytestmark = pytest.mark.slow

WHAT_IS_SAID = {
    "import_error.py": ("No module named 'no_such_module_of_anybody'", "installed in the experiment's environment"),
    "no_settings.py": ("has no 'settings'", "CalibrationSettings"),
    "no_function.py": ("has no 'get_calibrations'", "a function"),
    "wrong_return.py": ("gave a dict", "a list of caf.framework.Calibration"),
    "circular_a.py": ("circular import", "in a circle"),
    "no_such_algorithm.py": ("import TestAlgorithmThatNobodyWrote", "The library has no such class"),
    "opens_network.py": ("ConnectionRefusedError", "socket.create_connection"),
    "takes_minutes.py": ("was not done within 5 s", "(timeout)"),
}


def ask(script: Path, folder: Path, **words: Any) -> ScriptImport:
    return ScriptImport(
        script=str(script),
        folder=folder,
        config=CafConfig(database_chain=("main",)),
        input_data={"raw_physics": [["root://server.example//events.root", [1, 1]]]},
        arguments={"setup": list(SETUP)},
        **words,
    )


@pytest.mark.parametrize("name", WHAT_IS_SAID)
def test_what_is_wrong_and_what_to_do_is_said(name: str, tmp_path: Path) -> None:
    words = {"timeout": 5.0} if name == "takes_minutes.py" else {}
    with pytest.raises(CafError) as error:
        import_script(ask(BAD_SCRIPTS / name, tmp_path, **words))
    text = str(error.value)
    assert str(BAD_SCRIPTS / name) in text
    for part in WHAT_IS_SAID[name]:
        assert part in text
    # Of our own lines nothing, and nothing is left behind.
    assert "worker/basf2/script.py" not in text
    assert list(tmp_path.iterdir()) == []


def test_one_bad_script_of_a_folder_stops_no_other(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("_common", "circular_a", "circular_b", "same_name_a", "same_name_b", "no_settings"):
        (scripts / f"{name}.py").write_bytes((BAD_SCRIPTS / f"{name}.py").read_bytes())
    good = (BAD_SCRIPTS / "same_name_a.py").read_text("utf-8").replace("Same Name", "A Good One")
    (scripts / "good.py").write_text(good, encoding="utf-8")
    done = import_set(ScriptSet(scripts=scripts, order=ask(scripts, tmp_path / "definitions")))
    assert [imported.name for imported in done.imported] == ["A_Good_One"]
    bad = ("circular_a", "circular_b", "no_settings", "same_name_a", "same_name_b")
    assert sorted(done.failed) == [f"{name}.py" for name in bad]
    assert "have one name in their settings: 'Same Name'" in str(done.failed["same_name_b.py"])
    assert sorted(path.name for path in (tmp_path / "definitions").iterdir()) == ["A_Good_One.yaml", "_A_Good_One"]
