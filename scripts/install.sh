#!/usr/bin/env bash
# Make the virtual environment .venv beside this checkout and install the package with its tools in it.
#
# Does nothing when .venv already fits. Whether it fits is decided by content (pyproject.toml, constraints.txt, this
# file) and by the folder, not by dates: a fresh clone has arbitrary dates, and a virtual environment cannot be moved.
#
# PYTHON  the Python to use (3.11 or newer); without it the first fitting one of python3, python3.12, … is taken.
set -euo pipefail

# The name works only where this checkout is installed, so a PYTHONPATH of an experiment's software must not shadow it.
unset PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

cd "$(dirname "${BASH_SOURCE[0]}")/.."
stamp=.venv/.installed

stop() {
    printf 'Cannot install: %s\n' "$1" >&2
    exit 1
}

describe_wish() {
    pwd
    cksum pyproject.toml constraints.txt scripts/install.sh
    sed -n '/^__version__/p' airflow_provider_caf/__init__.py
}

runs() { "$@" >/dev/null 2>&1; }

is_new_enough() { runs "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }

can_make_environments() { runs "$1" -c 'import ensurepip, venv'; }

find_python() {
    local candidate without_pip=""
    if [[ -n "${PYTHON:-}" ]]; then
        runs "$PYTHON" --version || stop "PYTHON=$PYTHON does not run."
        is_new_enough "$PYTHON" || stop "PYTHON=$PYTHON is no Python 3.11 or newer ($("$PYTHON" --version 2>&1 | head -n 1))."
        can_make_environments "$PYTHON" || stop_without_ensurepip "$PYTHON"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3 python3.12 python3.11 python3.13; do
        is_new_enough "$candidate" || continue
        if can_make_environments "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
        without_pip=${without_pip:-$candidate}
    done
    [[ -z "$without_pip" ]] || stop_without_ensurepip "$without_pip"
    stop "no Python 3.11 or newer is on PATH (python3 is: $(python3 --version 2>&1 || true)).
Install one, or name one: make PYTHON=/path/to/python3.12 …"
}

stop_without_ensurepip() {
    stop "$1 ($("$1" --version)) lacks the module venv or ensurepip, so it cannot make virtual environments.
On Debian and Ubuntu: apt-get install python3-venv. Or name another Python: make PYTHON=/path/to/python3.12 …"
}

# ROOT asks the C++ compiler for its include folders when it starts and reads the standard library's headers. Without
# them it prints errors and goes on with wrong results (a formula that is not known fills an empty histogram).
check_cpp_headers() {
    printf '#include <new>\n' | runs c++ -xc++ -E - || stop "ROOT needs a C++ compiler (the command c++) with the standard library's headers.
On Debian and Ubuntu: apt-get install g++. On RHEL, Alma and Fedora: dnf install gcc-c++."
}

has_the_wished_python() {
    [[ -z "${PYTHON:-}" ]] || [[ "$("$PYTHON" --version 2>&1)" == "$(.venv/bin/python --version 2>&1)" ]]
}

# The commands in .venv/bin name the folder in which they were installed.
has_moved() { [[ -f "$stamp" && "$(head -n 1 "$stamp")" != "$(pwd)" ]]; }

if [[ -f "$stamp" && "$(cat "$stamp")" == "$(describe_wish)" ]] &&
    runs .venv/bin/python -c '' && has_the_wished_python; then
    exit 0
fi

python=$(find_python)
check_cpp_headers
printf 'Installing into .venv with %s (1.2 GB; about a minute, once) …\n' "$("$python" --version)" >&2
if [[ -n "${PYTHON:-}" ]] || has_moved || ! runs .venv/bin/python -m pip --version || ! is_new_enough .venv/bin/python; then
    "$python" -m venv --clear .venv
fi
rm -f "$stamp"
# setuptools is installed first and used as it is, so that the build of this package is pinned like everything else.
.venv/bin/python -m pip install --quiet --constraint constraints.txt pip setuptools
# It warns of every editable install that a folder could have the package's name; here that folder is the package.
PYTHONWARNINGS='ignore:Editable installation' \
    .venv/bin/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
describe_wish >"$stamp"
