caf() {
caf_mark=caf-0123
caf_input='one
two'
caf_lock=/w/arrays/0/remote.lock
caf_patience=900
caf_silence=60
caf_wanted=wanted
caf_limit=60.000
caf_grace=2
caf_largest=67108864
caf_launch='delete $ENV{PERL_BADLANG}; $SIG{TERM} = $SIG{HUP} = sub {}; my $file = shift; my $end = system { $ARGV[0] } @ARGV; exit 126 if $end < 0; exit $end >> 8 unless $end & 127; open my $mark, '"'"'>'"'"', $file or exit 128 + ($end & 127); exit $end & 127'
export A=''
export B='2 x'
set -- sbatch --array=0-3%2 'it'"'"'s $(a) "b" `c`'
caf_say() { printf '%s %s %s %s %s\n' "$caf_mark" "$1" "${2:-0}" "${3:-0}" "${4:-0}"; }
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
    setsid sh -c 'sleep "$1"; kill -s TERM "$2"; sleep 2; kill -s KILL "$2"' \
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
setsid sh -c 'sleep "$1"; : >"$2/late"; kill -s TERM -- "-$3"; sleep "$4"; kill -s KILL -- "-$3"' \
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
}
caf
