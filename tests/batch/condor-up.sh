#!/usr/bin/env bash
# A real HTCondor pool of one machine on loopback, for tests: installed where it is missing, started where it does not run.
#
#   condor-up.sh start     install, start, wait until it takes jobs; prints shell lines to eval
#   condor-up.sh stop      stop the pool; running jobs end
#
# Settings: CONDOR_HOME (its folder), CONDOR_PORT (9618), CONDOR_CPUS (8, pretended), CONDOR_USER (caf: who owns the jobs).
#
# Programs: the system's own condor, or Debian's package of it. Where the release has none, trixie's packages are unpacked
# below CONDOR_HOME and patchelf points their programs at the C library that came with them.
# User: HTCondor takes no job from root. As root, everything runs in a user namespace that shows root as CONDOR_USER, so that
# files stay root's; where namespaces are shut, as the real user CONDOR_USER, who must be able to write the work folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${CONDOR_HOME:-${TMPDIR:-/tmp}/caf-condor} port=${CONDOR_PORT:-9618} cpus=${CONDOR_CPUS:-8} user=${CONDOR_USER:-caf}
root=$home/root local=$home/local

die() {
    echo "condor-up: $*" >&2
    exit 1
}

find_programs() { # sets prefix: what stands before /usr in the paths of the programs
    prefix=
    [[ ! -x /usr/sbin/condor_master ]] || return 0
    if [[ -e $root/.done ]]; then
        prefix=$root
        return
    fi
    [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null ||
        die 'HTCondor is not here, and only root can install it: apt-get install condor, or run this as root.'
    apt-get -qq update >"$home/apt.log" 2>&1 || die "apt-get update failed, see $home/apt.log"
    if apt-cache policy condor | grep -q 'Candidate: [0-9]'; then
        install_packages condor
    else
        unpack_programs
        prefix=$root
    fi
}

install_packages() {
    "$here/../../scripts/install_packages.sh" "$home/apt.log" "$@" || die "apt-get install $* failed, see $home/apt.log"
}

unpack_programs() {
    command -v patchelf >/dev/null || install_packages patchelf
    local key=/usr/share/keyrings/debian-archive-keyring.gpg apt=$home/apt mirror
    [[ -e $key ]] || install_packages debian-archive-keyring
    # The mirror that this machine uses.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | sort -u | sed q)
    rm -rf "$apt" "$root"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/debs" "$root"
    touch "$apt/status"
    echo "deb [signed-by=$key] $mirror trixie main" >"$apt/sources.list"
    local options=(-qq -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::State::Lists="$apt/lists" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache"
        -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root)
    (apt-get "${options[@]}" update && cd "$apt/debs" && apt-get "${options[@]}" download condor libc6 libstdc++6 \
        libgcc-s1 libgomp1 libssl3t64 zlib1g libzstd1 libpcre2-8-0 libuuid1) >>"$home/apt.log" 2>&1 ||
        die "condor of trixie could not be fetched, see $home/apt.log"
    local package file loader
    for package in "$apt"/debs/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --exclude='./usr/share/doc' --exclude='./usr/share/man' \
            --exclude='./usr/share/locale'
    done
    loader=$(find "$root/usr/lib" -name 'ld-linux*.so.*' | head -1)
    for file in "$root"/usr/{sbin,bin,libexec/condor,lib/condor}/* "$root"/usr/lib/lib*.so*; do
        [[ -f $file && ! -L $file && $(head -c4 "$file" | tail -c3) == ELF ]] || continue
        ! patchelf --print-interpreter "$file" >/dev/null 2>&1 || patchelf --set-interpreter "$loader" "$file"
        patchelf --force-rpath --set-rpath "$root/usr/lib:$root/usr/lib/condor:$(dirname "$loader")" "$file"
    done
    "$root/usr/sbin/condor_master" -v >/dev/null || die 'the unpacked condor_master does not run'
    rm -rf "$apt"
    touch "$root/.done"
}

choose_user() { # sets as: the words before every program
    as=()
    [[ $(id -u) == 0 ]] || { user=$(id -un) && return; }
    id "$user" >/dev/null 2>&1 || useradd -m -s /bin/bash "$user"
    local uid gid
    uid=$(id -u "$user") gid=$(id -g "$user")
    if unshare -U --map-user="$uid" --map-group="$gid" true 2>/dev/null; then
        as=(unshare -U --map-user="$uid" --map-group="$gid")
    else
        as=(setpriv --reuid="$uid" --regid="$gid" --init-groups)
        chown -R "$user" "$local"
        chmod a+rx "$home"
    fi
}

write_config() {
    cat >"$home/condor_config" <<END
RELEASE_DIR = $prefix/usr
BIN = \$(RELEASE_DIR)/bin
SBIN = \$(RELEASE_DIR)/sbin
LIB = \$(RELEASE_DIR)/lib/condor
LIBEXEC = \$(RELEASE_DIR)/libexec/condor
SHARE = \$(RELEASE_DIR)/share/condor
LOCAL_DIR = $local
LOG = \$(LOCAL_DIR)/log
SPOOL = \$(LOCAL_DIR)/spool
EXECUTE = \$(LOCAL_DIR)/execute
RUN = \$(LOCAL_DIR)/run
LOCK = \$(LOCAL_DIR)/lock
ETC = $home
LOCAL_CONFIG_FILE =
LOCAL_CONFIG_DIR =
# Loopback only.
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:$port
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
ENABLE_IPV6 = False
NO_DNS = True
FULL_HOSTNAME = localhost
DEFAULT_DOMAIN_NAME = localdomain
UID_DOMAIN = localdomain
FILESYSTEM_DOMAIN = localdomain
USE_SHARED_PORT = False
use ROLE : CentralManager
use ROLE : Submit
use ROLE : Execute
use SECURITY : HOST_BASED
ALLOW_READ = *
ALLOW_WRITE = *
ALLOW_DAEMON = *
ALLOW_NEGOTIATOR = *
ALLOW_ADMINISTRATOR = *
SEC_DEFAULT_AUTHENTICATION_METHODS = FS
# BLOWFISH wants OpenSSL's legacy provider, without which condor_submit crashes after it has submitted.
SEC_DEFAULT_CRYPTO_METHODS = 3DES, AES
# Seconds instead of the minutes of a real pool.
NUM_CPUS = $cpus
NEGOTIATOR_INTERVAL = 1
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
MASTER_BACKOFF_CONSTANT = 1
MASTER_BACKOFF_CEILING = 5
SCHEDD_INTERVAL = 1
SCHEDD_MIN_INTERVAL = 1
PERIODIC_EXPR_INTERVAL = 1
UPDATE_INTERVAL = 2
STARTER_UPDATE_INTERVAL = 1
STARTER_INITIAL_UPDATE_INTERVAL = 1
SHADOW_QUEUE_UPDATE_INTERVAL = 1
JOB_DEFAULT_LEASE_DURATION = 30
CONDOR_FSYNC = False
ENABLE_USERLOG_FSYNC = False
RUNBENCHMARKS = 0
START = True
SUSPEND = False
PREEMPT = False
KILL = False
END
    cat >"$home/bin/.tool" <<END
#!/bin/sh
CONDOR_CONFIG=$home/condor_config
export CONDOR_CONFIG
exec ${as[*]} "$prefix/usr/bin/\${0##*/}" "\$@"
END
    chmod +x "$home/bin/.tool"
    local tool
    for tool in submit q history rm status hold release config_val; do ln -sfn .tool "$home/bin/condor_$tool"; done
}

find_master() { # prints the running master's number
    local pid
    pid=$(cat "$home/master.pid" 2>/dev/null) && grep -qs condor_master "/proc/$pid/cmdline" && echo "$pid"
}

answers() { "$home/bin/condor_q" -totals >/dev/null 2>&1 && [[ -n $("$home/bin/condor_status" -af Name 2>/dev/null) ]]; }

start() {
    mkdir -p "$home/bin" "$local"/{log,spool,execute,run,lock}
    if ! find_master >/dev/null; then
        find_programs
        choose_user
        write_config
        CONDOR_CONFIG=$home/condor_config setsid "${as[@]}" "$prefix/usr/sbin/condor_master" -f \
            >"$local/log/master.out" 2>&1 </dev/null &
        echo $! >"$home/master.pid"
    fi
    local _
    for _ in {1..300}; do
        if answers; then
            echo "export PATH=$home/bin:\$PATH"
            return
        fi
        sleep 0.2
    done
    die "no answer after 60 s, see $local/log"
}

stop() {
    local pid _
    pid=$(find_master) || return 0
    kill -QUIT "$pid" # the fast way: running jobs are killed
    for _ in {1..100}; do
        kill -0 "$pid" 2>/dev/null || { rm -f "$home/master.pid" && return; }
        sleep 0.2
    done
    die "the master ($pid) did not end in 20 s"
}

case ${1:-} in
start | stop) "$1" ;;
*) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
