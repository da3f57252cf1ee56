#!/bin/zsh
#SBATCH --constraint=ssd
#SBATCH --qos=calibration
# One element of the array caf_a.
(umask 077; : >>/w/caf_a/element_"$SLURM_ARRAY_TASK_ID".log) && exec >>/w/caf_a/element_"$SLURM_ARRAY_TASK_ID".log 2>&1 || exit 125
source /opt/site.sh
export A='x
#SBATCH --partition=other'
cd /w/caf_a || exit 125
exec apptainer exec --bind /w/caf_a --bind /w/in --bind /w/out --bind /w/out/status '/images/a b.sif' python3 /w/app.pyz subjob --array /w/caf_a/array.json --first 0 --element "$SLURM_ARRAY_TASK_ID"
