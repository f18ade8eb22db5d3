#!/bin/sh
#SBATCH --job-name=imgconv-migrate
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --cpus-per-task=2
#SBATCH --mem=512M
#
# Migrates one share of a store: migrate-shard.sh REPORTS SRC DST [OPTION]...
#
# Which share it is comes from the scheduler: the task of a Slurm job array, or the index of a Kubernetes Indexed
# Job, where SHARDS says how many there are. The report is REPORTS/shard-I-of-N.json. It may be killed and started
# again at any time: `imgconv migrate` goes on where it was. It submits, repeats and joins nothing.
set -eu

fail() {
    echo "migrate-shard: $*" >&2
    exit 2
}

[ "$#" -ge 3 ] || fail "usage: migrate-shard.sh REPORTS SRC DST [OPTION]..."
reports=$1
shift

# imgconv counts shares from 1; arrays begin where the user said, completion indexes at 0.
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    count=$SLURM_ARRAY_TASK_COUNT
    first=$SLURM_ARRAY_TASK_MIN
    step=$SLURM_ARRAY_TASK_STEP
    [ $((first + (count - 1) * step)) -eq "$SLURM_ARRAY_TASK_MAX" ] ||
        fail "the tasks of the array are not evenly spaced: submit it as --array=1-N"
    shard=$(((SLURM_ARRAY_TASK_ID - first) / step + 1))
elif [ -n "${JOB_COMPLETION_INDEX:-}" ]; then
    count=${SHARDS:-0}
    shard=$((JOB_COMPLETION_INDEX + 1))
    [ "$shard" -le "$count" ] || fail "SHARDS is $count: it has to be what \`completions\` of the job is"
else
    fail "neither a task of a job array (SLURM_ARRAY_TASK_ID) nor a pod of an Indexed Job (JOB_COMPLETION_INDEX)"
fi

mkdir -p "$reports"
exec "${IMGCONV:-imgconv}" migrate "$@" --shard "$shard/$count" --report "$reports/shard-$shard-of-$count.json"
