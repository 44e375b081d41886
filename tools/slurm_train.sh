#!/usr/bin/env bash
# Train under Slurm, with one task a GPU. Before the time limit, Slurm signals the run, which saves
# a checkpoint and ends with status 75; with BATCH=1 the job then returns to the queue.
set -euo pipefail

if (($# < 3)); then
    echo "usage: $0 PARTITION JOB CONFIG [options of tools/train.py]" >&2
    echo 'GPUS (8) in all, GPUS_PER_NODE (8), CPUS_PER_TASK (5), MASTER_PORT (29500), SRUN_ARGS' >&2
    echo 'BATCH=1 submits a job that continues after its time limit; SBATCH_ARGS, SIGNAL_AT (120)' >&2
    exit 2
fi
partition=$1
job=$2
config=$3
shift 3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}"
# once and in one line, before the job waits for its turn
"${PYTHON:-python}" "$here/command_line.py" train.py "$config" "$@"
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
if ((per_node > gpus)); then
    per_node=$gpus
fi
resources=(
    --partition="$partition" --job-name="$job" --gres="gpu:$per_node"
    --ntasks="$gpus" --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}"
    --signal="USR1@${SIGNAL_AT:-120}" # seconds before the limit, to the tasks
)
if [ -n "${BATCH:-}" ] && [ -z "${SLURM_JOB_ID:-}" ]; then
    read -r -a more <<<"${SBATCH_ARGS:-}"
    command=$(printf '%q ' bash "$here/slurm_train.sh" "$partition" "$job" "$config" "$@")
    exec sbatch --requeue --open-mode=append "${resources[@]}" ${more[@]+"${more[@]}"} \
        --wrap="$command"
fi
if ((${SLURM_RESTART_COUNT:-0} > 0)); then # again, after a requeue of any cause
    set -- "$@" --resume
fi

read -r -a more <<<"${SRUN_ARGS:-}"
status=0
# when a task ends, the others have a minute: they are saving, or waiting for one that died
srun "${resources[@]}" --kill-on-bad-exit=0 --wait=60 ${more[@]+"${more[@]}"} \
    "${PYTHON:-python}" -u "$here/train.py" "$config" --launcher slurm "$@" || status=$?
if ((status == 75)) && [ -n "${BATCH:-}" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
