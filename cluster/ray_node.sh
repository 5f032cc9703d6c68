#!/bin/bash
# One node of the Ray cluster of cluster/ray.sbatch, which starts this on each machine of a job and
# ends it with SIGUSR2. scancel sends SIGTERM to Ray's own processes as well.
set -u

folder="$RAY_FOLDER-$SLURM_PROCID"
options=(
    --block
    --num-cpus="${SLURM_CPUS_ON_NODE:-1}"
    --object-store-memory="${RAY_OBJECT_STORE:-1000000000}"
    --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0
    --temp-dir="$folder"
    --disable-usage-stats
)
if [ "$SLURM_PROCID" = 0 ]; then
    place=(--head --node-ip-address="$RAY_HOST" --port="$RAY_PORT" --include-dashboard=false)
else
    place=(--address="$RAY_ADDRESS")
fi
rm -rf "$folder" && mkdir -m 700 "$folder" || exit
ray start "${place[@]}" "${options[@]}" > "$folder/start.log" 2>&1 &
node=$!
is_ended=
trap 'is_ended=yes; kill -TERM "$node" 2> /dev/null' TERM INT USR2
wait "$node"
while kill -0 "$node" 2> /dev/null; do wait "$node"; done
if [ -z "$is_ended" ]; then
    echo "Ray ended by itself on $(hostname):" >&2
    tail -n 30 "$folder/start.log" >&2
fi
rm -rf "$folder"
[ -n "$is_ended" ]
