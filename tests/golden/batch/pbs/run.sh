#!/bin/zsh
#PBS -l place=excl
#PBS -r n
# One element of the array caf_0123456789.
(umask 077; : >>'/w/it'"'"'s $(touch broken)/element_'"$PBS_ARRAY_INDEX".log) && exec >>'/w/it'"'"'s $(touch broken)/element_'"$PBS_ARRAY_INDEX".log 2>&1 || exit 125
#PBS -q not-a-directive
source /site/setup.sh
export A='it'"'"'s'
cd '/w/it'"'"'s $(touch broken)' || exit 125
exec python3 /w/app.pyz subjob --array '/w/it'"'"'s $(touch broken)/array.json' --first 0 --element "$PBS_ARRAY_INDEX"
