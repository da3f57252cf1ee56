#!/bin/bash
# One element of the array caf_a.
(umask 077; : >>/w/caf_a/element_"$SLURM_ARRAY_TASK_ID".log) && exec >>/w/caf_a/element_"$SLURM_ARRAY_TASK_ID".log 2>&1 || exit 125
cd /w/caf_a || exit 125
exec python3 /w/app.pyz subjob --array /w/caf_a/array.json --first 0 --element "$SLURM_ARRAY_TASK_ID"
