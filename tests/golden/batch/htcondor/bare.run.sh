#!/bin/bash
# One element of the array caf_a.
(umask 077; : >>'/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/arrays/0/element_'"$1".log) && exec >>'/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/arrays/0/element_'"$1".log 2>&1 || exit 125
cd '/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/arrays/0' || exit 125
exec python3 '/w/it'"'"'s $(touch broken) "a"; `b` & <c> */app.pyz' subjob --array '/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/arrays/0/array.json' --first 0 --element "$1"
