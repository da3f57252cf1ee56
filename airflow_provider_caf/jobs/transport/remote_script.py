"""The shell script that runs one command on another host, and its answer: text only, no connection.

An ssh server hands a command to the user's login shell, whatever that is, and knows neither time limits nor locks nor
what became of a command whose connection broke. So the login shell gets one constant line, and a script of ours comes
by standard input. It

* runs the command in a session of its own, its output in files: `qsub` leaves a process behind that keeps the output
  open, and nobody shall wait for that one;
* ends the command when its time is up, also when nobody is there any more who could ask for it;
* takes the command's lock first and then asks whether it is still wanted. A sender that was killed does not answer. So
  a command that was under way when its sender died either holds the lock already, or never starts;
* answers in a frame that begins with a word which nothing else prints: profiles of users print all kinds of things.

* tells an end by a signal from an exit code. A shell says 137 of both, a killed command and one that ended with 137,
  and PBS has exit codes from 153 to 255. Perl knows the difference; on a host without it all are exit codes.

It needs a POSIX shell, and `setsid` and `flock` of util-linux.
"""

from __future__ import annotations

import re

from airflow_provider_caf.batch.spec import Command
from airflow_provider_caf.batch.wrapper import quote
from airflow_provider_caf.core.record import record

START = "exec /bin/sh -l -s"
"""What the login shell gets; every shell reads it alike. `-l`: the profile puts PBS and LSF on the PATH."""

WANTED = "wanted"
"""What the sender answers to `ASKS`, as one line."""

ASKS = "asks"
LOCK_LIMIT = 900
"""Seconds to wait for a lock; longer than any command takes that holds one."""
ANSWER_LIMIT = 60
"""Seconds in which the sender has to answer. A sender whose machine died says nothing at all."""
LARGEST_OUTPUT = 64 * 2**20
"""Bytes of standard output, and of standard error. The queue of 100 000 jobs takes a tenth of that."""

_GRACE = 2
"""Seconds between SIGTERM and SIGKILL for a command that takes too long."""

_LAUNCH = (
    "delete $ENV{PERL_BADLANG}; $SIG{TERM} = $SIG{HUP} = sub {}; my $file = shift; "
    "my $end = system { $ARGV[0] } @ARGV; "
    "exit 126 if $end < 0; exit $end >> 8 unless $end & 127; "
    "open my $mark, '>', $file or exit 128 + ($end & 127); exit $end & 127"
)
"""Runs a command; where a signal ended it, makes a file and ends with its number. A handler, unlike `IGNORE`, is not
passed on: it lets the launcher live as long as the command, which has some seconds after SIGTERM."""

_BODY = """\
caf_say() { printf '%s %s %s %s %s\\n' "$caf_mark" "$1" "${2:-0}" "${3:-0}" "${4:-0}"; }
command -v -- "$1" >/dev/null 2>&1 || { caf_say missing; exit 0; }
for caf_tool in setsid mktemp head wc ${caf_lock:+flock}; do
    command -v "$caf_tool" >/dev/null 2>&1 || { caf_say tool; exit 0; }
done
caf_work=$(mktemp -d "${TMPDIR:-/tmp}/caf.XXXXXXXXXX") || { caf_say space; exit 0; }
trap 'rm -rf "$caf_work"' EXIT
trap 'exit 1' HUP INT TERM PIPE
printf %s "$caf_input" >"$caf_work/in" || { caf_say space; exit 0; }
if [ -n "$caf_lock" ]; then
    (: >>"$caf_lock") 2>/dev/null || { caf_say folder; exit 0; }
    exec 9>>"$caf_lock"
    flock -w "$caf_patience" 9
    case $? in 0) ;; 1) caf_say busy; exit 0 ;; *) caf_say locks; exit 0 ;; esac
    setsid sh -c 'sleep "$1"; kill -s TERM "$2"; sleep 2; kill -s KILL "$2"' \\
        caf "$caf_silence" "$$" </dev/null >/dev/null 2>&1 9>&- &
    caf_guard=$!
    caf_say asks
    IFS= read -r caf_answer || caf_answer=
    kill -s KILL -- "-$caf_guard" 2>/dev/null || kill -s KILL "$caf_guard" 2>/dev/null
    [ "$caf_answer" = "$caf_wanted" ] || exit 0
fi
if command -v perl >/dev/null 2>&1; then
    set -- env PERL_BADLANG=0 perl -e "$caf_launch" "$caf_work/signal" "$@"
fi
setsid "$@" <"$caf_work/in" >"$caf_work/out" 2>"$caf_work/err" &
caf_command=$!
setsid sh -c 'sleep "$1"; : >"$2/late"; kill -s TERM -- "-$3"; sleep "$4"; kill -s KILL -- "-$3"' \\
    caf "$caf_limit" "$caf_work" "$caf_command" "$caf_grace" </dev/null >/dev/null 2>&1 9>&- &
caf_guard=$!
wait "$caf_command"
caf_code=$?
[ ! -e "$caf_work/signal" ] || caf_code=-$caf_code
[ ! -e "$caf_work/late" ] || kill -s KILL -- "-$caf_command" 2>/dev/null
kill -s KILL -- "-$caf_guard" 2>/dev/null || kill -s KILL "$caf_guard" 2>/dev/null
caf_out=$(($(wc -c <"$caf_work/out")))
caf_err=$(($(wc -c <"$caf_work/err")))
caf_how=ended
[ ! -e "$caf_work/late" ] || caf_how=late
[ "$caf_out" -le "$caf_largest" ] || { caf_how=large; caf_out=0; }
[ "$caf_err" -le "$caf_largest" ] || caf_err=$caf_largest
caf_say "$caf_how" "$caf_code" "$caf_out" "$caf_err"
head -c "$caf_out" "$caf_work/out"
head -c "$caf_err" "$caf_work/err"
exit 0
"""


@record
class Frame:
    """What the script says before anything else.

    :param how: `ended`, `late`, `asks`, or why the command was not started, see `PROBLEMS`.
    :param exit_code: negative: the signal that ended it.
    :param out: bytes of standard output that follow.
    :param err: bytes of standard error that follow those.
    """

    how: str
    exit_code: int
    out: int
    err: int


PROBLEMS = {
    "missing": (
        "There is no command {program!r} on {host}.",
        "Is the batch system installed there, and its folder on the PATH of a login shell (`sh -l`) of that user?",
    ),
    "tool": (
        "{host} has no `setsid` or `flock`.",
        "Install util-linux there, or name a submit host that has it.",
    ),
    "space": (
        "No temporary file could be made on {host}.",
        "Free space in /tmp (or TMPDIR) of that machine.",
    ),
    "folder": (
        "The lock file {lock} could not be opened on {host}.",
        "Does it see the work folder, and may the SSH connection's user write there? If not: set remote_work_dir.",
    ),
    "busy": (
        "Somebody has been submitting with the lock {lock} on {host} for {limit} s.",
        "Find out who holds it (fuser, on that machine), and end that submit command.",
    ),
    "locks": (
        "The file system of {lock} on {host} cannot lock files.",
        "Mount it with file locking, or choose another work folder.",
    ),
    "large": (
        "{program!r} on {host} printed more than {largest} bytes.",
        "Run it by hand on that machine.",
    ),
}
"""How it was not started → what happened, and what to do."""


def build_remote_script(command: Command, mark: str, *, patience: int = LOCK_LIMIT, silence: int = ANSWER_LIMIT) -> str:
    """Return the text that goes to `START`'s standard input.

    :param mark: a word that the frames begin with, new for each command.
    :param patience: seconds to wait for the command's lock.
    :param silence: seconds to wait for the sender's answer.
    :raises DefinitionError: if a word holds a NUL character.
    """
    values = {
        "mark": mark,
        "input": command.stdin or "",
        "lock": command.lock or "",
        "patience": str(patience),
        "silence": str(silence),
        "wanted": WANTED,
        "limit": f"{command.timeout:.3f}",
        "grace": str(_GRACE),
        "largest": str(LARGEST_OUTPUT),
        "launch": _LAUNCH,
    }
    lines = [
        # A function is read whole before its first line runs: what it reads from standard input is our answer.
        "caf() {",
        *(f"caf_{name}={quote(text)}" for name, text in values.items()),
        *(f"export {name}={quote(text)}" for name, text in sorted((command.environment or {}).items())),
        f"set -- {' '.join(map(quote, command.argv))}",
        _BODY.rstrip("\n"),
        "}",
        "caf",
    ]
    return "\n".join(lines) + "\n"


def parse_frame(line: str, mark: str) -> Frame | None:
    """Read a line of the answer, or return None where it is not ours."""
    match = re.fullmatch(rf"{re.escape(mark)} ([a-z]+) (-?\d+) (\d+) (\d+)", line, re.ASCII)
    if match is None:
        return None
    return Frame(how=match[1], exit_code=int(match[2]), out=int(match[3]), err=int(match[4]))
