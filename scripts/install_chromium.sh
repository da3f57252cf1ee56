#!/usr/bin/env bash
# Install Debian's Chromium for the browser tests, where that can be done. Elsewhere say what is left out, and go on.
set -euo pipefail

if command -v chromium >/dev/null || command -v chromium-browser >/dev/null; then
    exit 0
fi

leave_out() {
    printf 'The browser tests are left out: no Chromium here, and %s.\n' "$1" >&2
    exit 0
}

command -v apt-get >/dev/null || leave_out 'this is no Debian'
[[ $(id -u) == 0 ]] || leave_out 'only root can install it (apt-get install chromium)'
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo 'Installing Chromium for the browser tests …'
if ! { apt-get update -q && apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    leave_out 'it could not be installed (see above)'
fi
