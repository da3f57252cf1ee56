#!/usr/bin/env bash
# Install Debian packages without starting the services that come with them: install_packages.sh LOG PACKAGE…
# What the package manager says goes to the end of the file LOG. Needs root.
set -euo pipefail
log=$1
shift
export DEBIAN_FRONTEND=noninteractive
# Packages ask this program whether they may start what they bring.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
{ apt-get -q update && apt-get install -y -q --no-install-recommends "$@"; } >>"$log" 2>&1
