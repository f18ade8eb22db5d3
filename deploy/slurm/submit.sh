#!/bin/sh
# Submits a migration to Slurm: submit.sh N REPORTS SRC DST [OPTION]...
#
# A job array with a share for each of N tasks, and after all of them a job that joins their reports. All paths have
# to be on a file system that every node sees. Prints the ids of both jobs. What sbatch needs else (partition,
# account, time) is said in its environment variables, SBATCH_PARTITION and so on.
set -eu

if [ "$#" -lt 4 ]; then
    echo "submit: usage: submit.sh N REPORTS SRC DST [OPTION]..." >&2
    exit 2
fi
count=$1
reports=$2
shift 2
scripts=$(cd "$(dirname "$0")/.." && pwd)

mkdir -p "$reports"
array=$(sbatch --parsable --array="1-$count" --output="$reports/shard-%a.log" "$scripts/migrate-shard.sh" "$reports" "$@")
array=${array%%;*}
merge=$(sbatch --parsable --job-name=imgconv-merge --dependency="afterany:$array" --output="$reports/merge.log" \
    "$scripts/merge-shards.sh" "$reports" "$count")
echo "$array ${merge%%;*}"
