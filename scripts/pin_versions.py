"""Write constraints.txt: one version of every package that development needs, for every Python we support.

Pip is asked what it would install on the oldest Python first; what it answers binds the newer ones, so that
all get the same versions. Only names and versions are written, never where they came from.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
CONSTRAINTS = TOP / "constraints.txt"
PYTHONS = ("python3.11", "python3.12", "python3.13")

# The tools that install; pip does not count them as parts of an environment.
INSTALLERS = ("pip", "setuptools")

HEADER = """\
# Every package of a development environment, pinned; for Linux on x86_64 with Python {pythons}.
# All commands install with this file. It is written by `make pins` (takes the newest versions that fit) or by
# `.venv/bin/python scripts/pin_versions.py` (keeps the versions, adds what is missing, drops the unneeded).
"""


def parse_report(report: str) -> dict[str, str]:
    """Read the names and versions from the report of `pip install --dry-run --report`.

    :param report: the report's JSON text.
    """
    found = {}
    for item in json.loads(report)["install"]:
        metadata = item["metadata"]
        name = re.sub(r"[-_.]+", "-", metadata["name"]).lower()
        if name != "airflow-provider-caf":
            found[name] = metadata["version"]
    return found


def build_constraints(pins: dict[str, str], pythons: list[str]) -> str:
    """Return the text of constraints.txt.

    :param pins: version by name.
    :param pythons: the Python versions the pins were resolved on, such as "3.11".
    """
    lines = [f"{name}=={version}\n" for name, version in sorted(pins.items())]
    return HEADER.format(pythons=", ".join(pythons)) + "".join(lines)


def resolve(python: str, bound: Path) -> dict[str, str]:
    """Ask pip what it would install for development.

    :param python: the Python to resolve for.
    :param bound: a constraints file with the versions that are settled.
    """
    with tempfile.TemporaryDirectory() as folder:
        inner = Path(folder, "bin", "python")
        report = Path(folder, "report.json")
        _run(python, "-m", "venv", folder)
        _run(str(inner), "-m", "pip", "install", "--quiet", "--constraint", str(bound), "pip")
        _run(
            *(str(inner), "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
            *("--report", str(report), "--constraint", str(bound), "--only-binary", ":all:"),
            *(*INSTALLERS, "--editable", f"{TOP}[dev]"),
        )
        return parse_report(report.read_text(encoding="utf-8"))


def main() -> int:
    """Resolve on every Python and write the file; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--upgrade", action="store_true", help="forget the present pins and take the newest")
    parser.add_argument("pythons", nargs="*", default=PYTHONS, help="Pythons to resolve on, oldest first")
    options = parser.parse_args()

    pins: dict[str, str] = {}
    settled = "" if options.upgrade or not CONSTRAINTS.exists() else CONSTRAINTS.read_text(encoding="utf-8")
    versions = []
    with tempfile.TemporaryDirectory() as folder:
        bound = Path(folder, "settled.txt")
        for python in options.pythons:
            bound.write_text(settled, encoding="utf-8")
            print(f"Resolving with {python} …", flush=True)
            found = resolve(python, bound)
            settled += "".join(f"{name}=={version}\n" for name, version in found.items() if name not in pins)
            pins = found | pins
            versions.append(_read_version(python))
    CONSTRAINTS.write_text(build_constraints(pins, versions), encoding="utf-8")
    print(f"{CONSTRAINTS.name} has {len(pins)} packages.")
    return 0


def _read_version(python: str) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
