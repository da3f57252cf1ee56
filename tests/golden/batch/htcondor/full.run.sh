#!/bin/zsh
# One element of the array caf_cal-x.y_hits_i0_a0_05a9b63281.
(umask 077; : >>'/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/arrays/0/element_'"$1".log) && exec >>'/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/arrays/0/element_'"$1".log 2>&1 || exit 125
source /opt/site.sh
export A='x y'
cd '/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/arrays/0' || exit 125
exec apptainer exec --bind '/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/arrays/0' --bind '/w/it'"'"'s $(touch broken) "a"; `b` & <c> */in' --bind '/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out' --bind '/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/status' '/images/a b.sif' python3 '/w/it'"'"'s $(touch broken) "a"; `b` & <c> */app.pyz' subjob --array '/w/it'"'"'s $(touch broken) "a"; `b` & <c> */out/arrays/0/array.json' --first 0 --element "$1"
