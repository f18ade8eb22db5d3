#!/bin/sh
#SBATCH --job-name=imgconv-migrate
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --cpus-per-task=2
#SBATCH --mem=512M
#
# Migrates one share of a store: migrate-shard.sh REPORTS SRC DST [OPTION]...
#
# Which share it is comes from the task of the Slurm job array. The report is REPORTS/shard-I-of-N.json. It may be killed and started
# again at any time: `imgconv migrate` goes on where it was. It submits, repeats and joins nothing.
set -eu

fail() {
    echo "migrate-shard: $*" >&2
    exit 2
}

[ "$#" -ge 3 ] || fail "usage: migrate-shard.sh REPORTS SRC DST [OPTION]..."
reports=$1
shift

[ -n "${SLURM_ARRAY_TASK_ID:-}" ] || fail "this is no task of a job array (SLURM_ARRAY_TASK_ID)"
# imgconv counts shares from 1; arrays begin where the user said.
count=$SLURM_ARRAY_TASK_COUNT
first=$SLURM_ARRAY_TASK_MIN
step=$SLURM_ARRAY_TASK_STEP
[ $((first + (count - 1) * step)) -eq "$SLURM_ARRAY_TASK_MAX" ] ||
    fail "the tasks of the array are not evenly spaced: submit it as --array=1-N"
shard=$(((SLURM_ARRAY_TASK_ID - first) / step + 1))

mkdir -p "$reports"
exec "${IMGCONV:-imgconv}" migrate "$@" --shard "$shard/$count" --report "$reports/shard-$shard-of-$count.json"
