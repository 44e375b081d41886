#!/usr/bin/env bash
# Test a checkpoint under Slurm, with one task a GPU.
set -euo pipefail

if (($# < 4)); then
    echo "usage: $0 PARTITION JOB CONFIG CHECKPOINT [options of tools/test.py]" >&2
    echo 'GPUS (8) in all, GPUS_PER_NODE (8), CPUS_PER_TASK (5), MASTER_PORT (29500), SRUN_ARGS' >&2
    exit 2
fi
partition=$1
job=$2
config=$3
checkpoint=$4
shift 4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}"
# once and in one line, before the job waits for its turn
"${PYTHON:-python}" "$here/command_line.py" test.py "$config" "$checkpoint" "$@"
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
if ((per_node > gpus)); then
    per_node=$gpus
fi
read -r -a more <<<"${SRUN_ARGS:-}"

exec srun \
    --partition="$partition" --job-name="$job" --gres="gpu:$per_node" \
    --ntasks="$gpus" --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 ${more[@]+"${more[@]}"} \
    "${PYTHON:-python}" -u "$here/test.py" "$config" "$checkpoint" --launcher slurm "$@"
