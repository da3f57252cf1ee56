#!/bin/bash
#PBS -W group_list=muon
# One element of the array caf_0123456789.
(umask 077; : >>'/w/a b/element_'"$PBS_ARRAYID".log) && exec >>'/w/a b/element_'"$PBS_ARRAYID".log 2>&1 || exit 125
cd '/w/a b' || exit 125
exec python3 /w/app.pyz subjob --array '/w/a b/array.json' --first 0 --element "$PBS_ARRAYID"
