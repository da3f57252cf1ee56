"""The package travels: it must import with nothing installed, in the Pythons that experiments have."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_caf
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.worker import __main__ as door

pytestmark = pytest.mark.slow

PACKAGE = Path(airflow_provider_caf.__file__).parent
SOURCES = sorted([*(PACKAGE / "core").rglob("*.py"), *(PACKAGE / "worker").rglob("*.py")])


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_syntax_is_that_of_python_3_9(source: Path) -> None:
    assert ast.parse(source.read_text(), feature_version=(3, 9)).body is not None


def test_importing_every_module_needs_the_standard_library_only() -> None:
    names = [
        ".".join(("airflow_provider_caf", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in SOURCES
        if path.name not in ("__init__.py", "__main__.py")
    ]
    program = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
        f"for name in {names!r}: __import__(name)\n"
        "import airflow_provider_caf.worker as worker\n"
        "worker.Collector, worker.Algorithm, worker.ResultCode\n"
        "tops = {name.partition('.')[0] for name in sys.modules}\n"
        # The second is what multiprocessing calls the first.
        "print(sorted(tops - set(sys.stdlib_module_names) - {'airflow_provider_caf', '__main__', '__mp_main__'}))\n"
    )
    # -I -S: neither site-packages nor the user's environment.
    answer = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_names_are_listed_and_unknown_ones_refused() -> None:
    import airflow_provider_caf.worker as worker

    assert {"Algorithm", "Collector", "ResultCode"} <= set(dir(worker))
    with pytest.raises(AttributeError, match="has no attribute 'Colector'"):
        worker.Colector  # noqa: B018


@pytest.mark.parametrize(
    ("argv", "text"), [([], "no verb given"), (["colect"], "unknown verb 'colect'; use one of: algorithm, collect")]
)
def test_unknown_verb_is_a_usage_error(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(argv) == door.EXIT_USAGE
    assert text in capsys.readouterr().err


def test_an_error_of_ours_is_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(["merge", "/nowhere/merge.json"]) == door.EXIT_ERROR
    told = capsys.readouterr().err
    assert told.startswith("merge: The merge request /nowhere/merge.json cannot be read: No such file or directory.")
    assert "Traceback" not in told


def test_an_old_python_describes_user_code(tmp_path: Path, calibrators: Path) -> None:
    found = [shutil.which(name) for name in ("python3.9", "python3.10")]
    # A shim of a version manager is on PATH and may still not run.
    pythons = [path for path in found if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0]
    if not pythons:
        pytest.skip("no Python 3.9 or 3.10 on PATH")
    app = tmp_path / "app.pyz"
    reference = f"{calibrators}:HitCollector"
    build_job_app(app, [reference])
    request, answer = tmp_path / "refs.json", tmp_path / "answer.json"
    request.write_text(json.dumps({"version": 1, "collectors": [{"reference": reference}]}))
    subprocess.run([pythons[0], str(app), "describe", str(request), "--output", str(answer)], check=True)
    assert json.loads(answer.read_text())["collectors"][0]["prefix"] == "Hits"
