#!/usr/bin/env bash
# Install what tests need beside Python, git, make and a C++ compiler, where that can be done: Debian's Chromium for the
# browser tests, an ssh server and a PostgreSQL, of which the tests start some of their own. Elsewhere say what is missing, and
# go on: the tests that need it are left out, and the last line says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PATH=$PATH:/usr/sbin:/sbin
has() { # program …: one of them
    local program
    for program; do
        ! command -v "$program" >/dev/null || return 0
    done
    return 1
}
missing=() packages=()
has chromium chromium-browser || missing+=('Chromium (tests/browser)') packages+=(chromium fonts-dejavu-core)
has initdb /usr/lib/postgresql/*/bin/initdb || missing+=('PostgreSQL (the page on it)') packages+=(postgresql)
has sshd || missing+=('sshd (jobs on another host)') packages+=(openssh-server)
((${#missing[@]})) || exit 0

leave_out() {
    printf 'Tests are left out for want of %s: %s.\n' "$(IFS=, && echo "${missing[*]}")" "$1" >&2
    exit 0
}
command -v apt-get >/dev/null || leave_out 'this is no Debian'
[[ $(id -u) == 0 ]] || leave_out "only root can install them (apt-get install ${packages[*]})"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
printf 'Installing for the tests: %s …\n' "${packages[*]}"
if ! scripts/install_packages.sh "$log" "${packages[@]}"; then
    tail -n 20 "$log" >&2
    leave_out 'they could not be installed (see above)'
fi
# A machine that had no ssh server shall have none after its next start either.
[[ " ${packages[*]} " != *' openssh-server '* ]] || update-rc.d ssh disable
