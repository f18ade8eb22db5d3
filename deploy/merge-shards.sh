#!/bin/sh
# Joins the reports of all shares to REPORTS/merged.json: merge-shards.sh REPORTS N
#
# Fails if the report of a share is missing or an image failed.
set -eu

if [ "$#" -ne 2 ]; then
    echo "merge-shards: usage: merge-shards.sh REPORTS N" >&2
    exit 2
fi
exec "${IMGCONV:-imgconv}" migrate merge-reports "$1"/shard-*-of-"$2".json --json >"$1/merged.json"
