#!/usr/bin/env bash
# Build the wheel and the source distribution into dist/, and look whether they are whole: their metadata, and what works in
# an environment in which nothing else is installed.
#
#   dist.sh PYTHON     PYTHON: that of .venv, where build and twine are
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=$1
version=$("$python" -c 'import airflow_provider_caf; print(airflow_provider_caf.__version__)')

rm -rf dist build
# As they are installed: the build is pinned like everything else.
"$python" -m build --no-isolation --outdir dist . >/dev/null
"$python" -m twine check --strict dist/*

folder=$(mktemp -d)
trap 'rm -rf "$folder" build' EXIT
export AIRFLOW_HOME=$folder/airflow PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
unset PYTHONPATH
# The sources have all that the tests take.
tar -xzf "dist/airflow_provider_caf-$version.tar.gz" -C "$folder"
for name in tests dags docs scripts Makefile constraints.txt CHANGELOG.md; do
    [[ -e "$folder/airflow_provider_caf-$version/$name" ]] || { echo "The sdist lacks $name." >&2 && exit 1; }
done
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --constraint constraints.txt "dist/airflow_provider_caf-$version-py3-none-any.whl"
cd "$folder"
venv/bin/airflow providers get airflow-provider-caf >/dev/null
venv/bin/airflow caf lint "$OLDPWD"/dags/definitions/*.yaml
# What a page, a report and a job are made of.
venv/bin/python - <<'END'
from importlib.resources import files

from airflow_provider_caf.core.job_app import build_own_entries

package = files("airflow_provider_caf")
for name in ("py.typed", "plugin/static/index.html", "report/report.html.j2", "report/excuse.html.j2"):
    assert package.joinpath(name).is_file(), name
assert "__main__.py" in build_own_entries()
END
ls -l "$OLDPWD/dist"
