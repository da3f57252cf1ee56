#!/usr/bin/env bash
# Install Debian packages, and start none of the services that come with them.
#
#   install_packages.sh LOG PACKAGE …     what apt-get says goes to the end of the file LOG
#
# Needs root.
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
{ apt-get update -q && apt-get install -y -q --no-install-recommends "$@"; } >>"$log" 2>&1
