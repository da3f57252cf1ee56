# The commands for people; `make help` lists them. Each first makes what it needs (scripts/install.sh).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

python := .venv/bin/python
export PYTHON
# Software of an experiment's environment must not shadow what is pinned here.
unexport PYTHONPATH PYTHONHOME ROOTSYS

backend := $(if $(BACKEND),--backend '$(BACKEND)')

.PHONY: help demo test coverage test-fast test-batch pictures check serve install pins test-fakes dist

help: ## This list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

demo: install ## Calibrate a small detector on a real Airflow and compare with the truth (BACKEND=… to choose the batch system)
	@$(python) scripts/demo.py $(backend)

serve: install ## The same, and leave Airflow's web interface up
	@$(python) scripts/demo.py --serve $(backend)

# The two rooms without side effects have no excuse for untried branches: their own tests and those of `jobs`, which stands
# on them, try them. To measure doubles what a test costs, so the others run without. Those with an Airflow wait more than
# they work: they run on one worker, in one Airflow, beside all others on two. Both parts run, so that one look shows all.
pure := batch core
by_themselves := $(pure:%=tests/unit/%) tests/unit/jobs
test: install ## All tests, with the coverage of core and batch (as root it installs Chromium, sshd and PostgreSQL, if missing)
	@scripts/install_test_tools.sh
	@failed=0; \
	$(python) -m pytest --numprocesses=2 $(by_themselves) $(pure:%=--cov=airflow_provider_caf/%) \
	    --cov-report=term-missing:skip-covered --cov-fail-under=95 || failed=1; \
	$(python) -m pytest --numprocesses=3 --durations=20 $(by_themselves:%=--ignore=%) || failed=1; \
	exit $$failed

# For developers: all tests, and what they try of the whole package, which takes half as long again.
coverage: install
	@scripts/install_test_tools.sh
	@$(python) -m pytest --numprocesses=3 --cov --cov-report=term:skip-covered

test-fast: install ## What takes milliseconds: no Airflow, no ROOT, no batch system
	@$(python) -m pytest --numprocesses=2 -m 'not airflow and not slow' tests/unit

test-batch: install ## The batch systems' contract, the demo and scripts on a real HTCondor and Slurm (needs root)
	@tests/batch/run.sh $(python)

# All tools run, so that one look shows everything.
check: install ## Style, types, import table, sizes, the engine on Python 3.9
	@failed=0; \
	$(python) -m ruff check || failed=1; \
	$(python) -m ruff format --check || failed=1; \
	$(python) scripts/check_sizes.py || failed=1; \
	$(python) scripts/check_engine.py || failed=1; \
	.venv/bin/lint-imports || failed=1; \
	$(python) -m mypy || failed=1; \
	exit $$failed

dist: install ## A wheel and a source distribution in dist/, checked by twine and by an install in an empty environment
	@scripts/dist.sh $(python)

# For developers: after a change of the stand-in for basf2. Until then `make test` runs these tests each time.
test-fakes: install
	@CAF_TEST_FAKES=1 $(python) -m pytest tests/unit/test_fake_basf2.py
	@$(python) tests/fakes/tested.py

install:
	@scripts/install.sh

# For developers: pin the newest versions that fit together (see CONTRIBUTING.md).
pins: install
	@$(python) scripts/pin_versions.py --upgrade

# For developers: the browser tests alone; their screenshots go into the documentation.
pictures: install
	@scripts/install_test_tools.sh
	@CAF_PICTURES=docs/images $(python) -m pytest tests/browser/test_page.py
