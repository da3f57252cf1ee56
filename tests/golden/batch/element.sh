#!/bin/bash
# One element of the array caf_x_0123456789.
(umask 077; : >>'/w/a b/arrays/0/element_'$(($LSB_JOBINDEX - 1)).log) && exec >>'/w/a b/arrays/0/element_'$(($LSB_JOBINDEX - 1)).log 2>&1 || exit 125
source /site/setup.sh 'x y'
ulimit -c 0
export A=1
export B='it'"'"'s $(touch broken) "a"; `b` & <c> * \   -x #!'
cd '/w/a b/arrays/0' || exit 125
exec apptainer exec --bind '/w/a b/arrays/0' --bind '/w/a b/in' --bind '/w/a b/out' --bind '/w/a b/out/status' '/images/a b.sif' python3 '/w/a b/app.pyz' subjob --array '/w/a b/arrays/0/array.json' --first 1 --element "$LSB_JOBINDEX"
