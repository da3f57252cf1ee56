#!/usr/bin/env bash
# A real Slurm of one node on loopback, for tests: installed from Debian's packages where it is missing. Needs root.
#
#   slurm-up.sh start      install, start, wait until the node takes jobs; prints shell lines to eval
#   slurm-up.sh stop       stop the daemons; running jobs end
#
# Settings: SLURM_HOME (its folder), SLURM_CPUS (8, pretended like their 1000 MB each), SLURM_PORT (6817; the next
# two are used, too), SLURM_DBD=1 (also the accounting, for sacct), SLURM_TORQUE=1 (also the Torque-style qsub, qstat, qdel).
# Jobs run as whoever submits, root too. No cgroups, no systemd.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${SLURM_HOME:-${TMPDIR:-/tmp}/caf-slurm} cpus=${SLURM_CPUS:-8} port=${SLURM_PORT:-6817} dbd=${SLURM_DBD:-0} torque=${SLURM_TORQUE:-0}
export SLURM_CONF=$home/slurm.conf

die() {
    echo "slurm-up: $*" >&2
    exit 1
}

install_programs() {
    local missing=() program
    for program in slurmctld slurmd sbatch munged; do
        command -v "$program" >/dev/null || missing=(slurmctld slurmd slurm-client munge)
    done
    [[ $torque != 1 ]] || command -v qsub >/dev/null || missing+=(slurm-wlm-torque)
    [[ $dbd != 1 ]] || command -v slurmdbd >/dev/null || missing+=(slurmdbd)
    [[ $dbd != 1 ]] || command -v mariadbd >/dev/null || missing+=(mariadb-server-core mariadb-client-core)
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "missing here, and there is no apt-get: ${missing[*]}"
    "$here/../../scripts/install_packages.sh" "$home/apt.log" "${missing[@]}" ||
        die "apt-get install ${missing[*]} failed, see $home/apt.log"
}

write_config() {
    local host
    host=$(hostname -s)
    cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
CryptoType=crypto/munge
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.pid
SlurmctldLogFile=$home/log/slurmctld.log
SlurmdLogFile=$home/log/slurmd.log
# No cgroups.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1000
# Seconds instead of the minutes of a real cluster.
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0,defer_batch
MaxJobCount=100000
MaxArraySize=20001
InactiveLimit=0
KillWait=2
Waittime=0
SlurmctldTimeout=10
SlurmdTimeout=60
ReturnToService=2
MessageTimeout=10
MailProg=/bin/true
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$((cpus * 1000)) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE DefaultTime=60 State=UP OverSubscribe=NO
END
    [[ $dbd != 1 ]] || cat >>"$SLURM_CONF" <<END
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 2))
END
    (umask 077 && cat >"$home/slurmdbd.conf") <<END
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((port + 2))
SlurmUser=root
PidFile=$home/slurmdbd.pid
LogFile=$home/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
CommitDelay=1
END
    # slurmd wants a mounted /sys/fs/cgroup otherwise, although nothing here uses it.
    case $(slurmd -V) in
    *' 2'[0-2].* | *' 23.02'*) echo 'CgroupPlugin=cgroup/v1' ;;
    *) echo 'CgroupPlugin=disabled' ;;
    esac >"$home/cgroup.conf"
}

runs() { # program: the one that this folder's pid file names
    local pid
    pid=$(cat "$home/$1.pid" 2>/dev/null) && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$1" ]]
}

wait_until() { # seconds, command …
    local try tries=$(($1 * 5))
    shift
    for ((try = 0; try < tries; try++)); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.2
    done
    return 1
}

munge_answers() { munge -n </dev/null | unmunge; }

start_munge() { # one for the machine; it is left running
    ! munge_answers >/dev/null 2>&1 || return 0
    mkdir -p /etc/munge /run/munge /var/log/munge /var/lib/munge
    [[ -s /etc/munge/munge.key ]] || (umask 077 && head -c 1024 /dev/urandom >/etc/munge/munge.key)
    chown -R munge:munge /etc/munge /run/munge /var/log/munge /var/lib/munge
    chmod 755 /run/munge
    setpriv --reuid=munge --regid=munge --clear-groups munged >"$home/log/munged.out" 2>&1 </dev/null || true
    wait_until 10 munge_answers || die "munged does not answer: $(tail -1 "$home/log/munged.out")"
}

start_accounting() {
    if ! runs mariadbd; then
        [[ -d $home/db/mysql ]] || mariadb-install-db --no-defaults --user=root --datadir="$home/db" --skip-test-db \
            --auth-root-authentication-method=normal >"$home/log/mariadb-install.log" 2>&1
        setsid mariadbd --no-defaults --user=root --datadir="$home/db" --socket="$home/db.sock" --skip-networking \
            --pid-file="$home/mariadbd.pid" --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900 \
            >"$home/log/mariadb.log" 2>&1 </dev/null &
        wait_until 60 mariadb --no-defaults -S "$home/db.sock" -e 'create database if not exists slurm_acct_db' ||
            die "mariadbd does not answer, see $home/log"
    fi
    runs slurmdbd || MYSQL_UNIX_PORT=$home/db.sock setsid slurmdbd >"$home/log/slurmdbd.out" 2>&1 </dev/null
    wait_until 60 sacctmgr -n show cluster || die "slurmdbd does not answer, see $home/log"
}

answers() { timeout 5 sinfo -h -o %T | grep -qE '^(idle|mixed|allocated)'; }

start() {
    [[ $(id -u) == 0 ]] || die 'needs root'
    mkdir -p "$home"/{log,state,spool}
    install_programs
    if ! runs slurmctld || ! runs slurmd; then
        write_config
        start_munge
        [[ $dbd != 1 ]] || start_accounting
        runs slurmctld || setsid slurmctld -f "$SLURM_CONF" >"$home/log/slurmctld.out" 2>&1 </dev/null
        runs slurmd || setsid slurmd -f "$SLURM_CONF" -N "$(hostname -s)" >"$home/log/slurmd.out" 2>&1 </dev/null
    fi
    wait_until 60 answers || die "the node does not come up, see $home/log"
    echo "export SLURM_CONF=$SLURM_CONF"
}

stop() {
    local program
    for program in slurmd slurmctld slurmdbd mariadbd; do
        ! runs "$program" || kill "$(cat "$home/$program.pid")"
        wait_until 20 eval "! runs $program" || die "$program did not end in 20 s"
    done
}

case ${1:-} in
start | stop) "$1" ;;
*) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
