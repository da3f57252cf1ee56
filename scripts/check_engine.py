"""Check that the engine (core, batch, execution, jobs, worker) runs on Python 3.9 with nothing installed.

Its modules are imported by a real Python 3.9, if there is one: on PATH, or among the versions of pyenv. What fails only
when a function runs is found by vermin, which knows for each name and argument of the standard library since when it is
there. Where there is no Python 3.9, the Python that runs this imports the modules instead, and that is said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PACKAGE = TOP / "airflow_provider_caf"
ROOMS = ("core", "batch", "execution", "jobs", "worker")
OLDEST = (3, 9)

BLOCK = """
import sys

class _Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is not to be imported by the engine")

BLOCKED = {"airflow", "pydantic", "sqlalchemy", "yaml", "paramiko", "tenacity", "jinja2", "numpy", "ROOT", "basf2"}
sys.meta_path.insert(0, _Nothing())
"""
"""Text of a program: from now on no third party can be imported, wherever it is installed."""

_IMPORT = """
import importlib, sys, traceback

sys.path.append(sys.argv[1])
failed = 0
for name in sys.argv[2:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed += 1
        last = traceback.extract_tb(error.__traceback__)[-1]
        print(f"{name}: {type(error).__name__}: {error} ({last.filename}:{last.lineno})")
sys.exit(1 if failed else 0)
"""


def list_modules(*rooms: str) -> list[str]:
    """Return the full names of all modules in some rooms."""
    files = [path for room in rooms for path in sorted((PACKAGE / room).rglob("*.py"))]
    names = [".".join(path.relative_to(TOP).with_suffix("").parts) for path in files]
    return [name.removesuffix(".__init__") for name in names]


def find_old_python() -> Path | None:
    """Find a Python of the oldest version: on PATH, else among the versions of pyenv."""
    name = "python" + ".".join(map(str, OLDEST))
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = shutil.which(name)
    candidates = [] if on_path is None else [Path(on_path)]
    # A version of pyenv that is not chosen has a name on PATH, too, which does not run.
    candidates += sorted(versions.glob(f"{'.'.join(map(str, OLDEST))}*/bin/{name}"))
    return next((path for path in candidates if _is_oldest(path)), None)


def _is_oldest(python: Path) -> bool:
    code = f"import sys; sys.exit(sys.version_info[:2] != {OLDEST})"
    try:
        return subprocess.run([python, "-I", "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def check_imports(python: Path, modules: list[str]) -> str:
    """Import modules in a Python that sees nothing installed, and return what failed, one line each."""
    argv = [str(python), "-I", "-S", "-c", BLOCK + _IMPORT, str(TOP), *modules]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def check_features() -> str:
    """Return what of the standard library the engine uses that the oldest Python does not have."""
    version = ".".join(map(str, OLDEST))
    rooms = [str(PACKAGE / room) for room in ROOMS]
    argv = [
        sys.executable,
        "-c",
        "import vermin; vermin.main()",
        f"--target={version}-",
        "--violations",
        "--no-tips",
        *rooms,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def main() -> int:
    """Check, print, and return the exit code."""
    version = ".".join(map(str, OLDEST))
    modules = list_modules(*ROOMS)
    python = find_old_python()
    if python is None:
        print(f"!!! THERE IS NO PYTHON {version} HERE: the engine is imported by {sys.version.split()[0]} instead.")
        print("!!! Imports that fail on the older one only are left to ruff and vermin. Put one on PATH.")
    problems = check_imports(python or Path(sys.executable), modules) + check_features()
    print(problems or f"The engine ({len(modules)} modules) needs Python {version} and nothing else.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
