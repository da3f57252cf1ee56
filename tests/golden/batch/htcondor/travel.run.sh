#!/bin/bash
# One element of the array caf_a.
caf_scratch=$PWD
mkdir -p "$caf_scratch"'/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/arrays/0' "$caf_scratch"'/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/status' || exit 125
(umask 077; : >>"$caf_scratch"'/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/arrays/0/element_'"$1".log) && exec >>"$caf_scratch"'/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/arrays/0/element_'"$1".log 2>&1 || exit 125
cd "$caf_scratch" || exit 125
exec python3 "$caf_scratch"'/w/it'"'"'s $(touch broken) "a"; `b` & <c> */app.pyz' subjob --scratch "$caf_scratch" --array array.json --element "$1"
