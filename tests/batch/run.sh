#!/usr/bin/env bash
# Run the contract and the demonstration on a real HTCondor and a real Slurm, calibration scripts of the experiment's kind on
# HTCondor, and a part of the contract on Slurm's Torque-style commands: `make test-batch`.
# What is missing is installed from Debian's packages, which needs root. Both are stopped at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${1:-.venv/bin/python}

if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo 'make test-batch installs HTCondor and Slurm from Debian packages and starts Slurm: it needs root and apt-get.' >&2
    echo 'On a site that has a batch system: pytest tests/contract --system slurm --real (see CONTRIBUTING.md).' >&2
    exit 1
fi

folder=$(mktemp -d)
export CONDOR_HOME=${CONDOR_HOME:-${TMPDIR:-/tmp}/caf-condor} SLURM_HOME=${SLURM_HOME:-${TMPDIR:-/tmp}/caf-slurm}
export SLURM_DBD=1 SLURM_TORQUE=1
stop() {
    tests/batch/condor-up.sh stop
    tests/batch/slurm-up.sh stop
    rm -rf "$folder"
}
trap stop EXIT

# In a file, not by `eval "$(…)"`, which would not see that it failed.
tests/batch/condor-up.sh start >"$folder/env"
tests/batch/slurm-up.sh start >>"$folder/env"
# shellcheck source=/dev/null
source "$folder/env"

failed=0
contract() { # system, words for pytest …
    "$python" -m pytest --durations=20 --real --system "$@"
}
demo() {
    "$python" scripts/demo.py --folder "$folder/demo" --backend "$1" || failed=1
}
beside= # what runs in the background, and its log
begin() { # command …: beside what follows
    "$@" >"$folder/beside.log" 2>&1 &
    beside=$!
}
finish() {
    wait "$beside" || failed=1
    cat "$folder/beside.log"
}
# Tests of a batch system wait more than they work, so several run at a time.
kills=tests/contract/test_strategy_kills.py
begin contract htcondor --numprocesses=2 tests/contract --ignore=$kills
contract slurm --numprocesses=2 tests/contract --ignore=$kills || failed=1
finish
# Not beside other tests: whatever carries a job out is killed. On Slurm that takes five minutes. With the option
# `--start-daemons COMMAND` (see CONTRIBUTING.md) the daemons of the system are killed as well.
contract htcondor $kills || failed=1
if [[ -z ${SKIP_SCRIPTS:-} ]]; then
    contract slurm $kills || failed=1
fi
# The wrappers build a shell string from the script's path, and know no element of an array.
begin contract torque --plain-paths --backend-arg array_limit=1 tests/contract/test_systems.py \
    -k 'each_subjob or only_what_is_missing or is_gone or changed_job or program_that_is_not_there or tries or memory_grows'
demo htcondor
finish
demo slurm
# The chain of eleven calibrations takes minutes, and shows nothing more about the batch system.
if [[ -z ${SKIP_SCRIPTS:-} ]]; then
    CAF_TEST_BACKEND=htcondor CAF_TEST_LEAVE_OUT=eleven_chain "$python" -m pytest --durations=20 \
        tests/integration/test_scripts.py || failed=1
fi
exit "$failed"
