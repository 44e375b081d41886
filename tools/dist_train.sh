#!/usr/bin/env bash
# Train with one process a GPU, on one machine or several, by torchrun.
set -euo pipefail

if (($# < 2)); then
    echo "usage: $0 CONFIG GPUS [options of tools/train.py]" >&2
    echo 'several machines: NNODES, NODE_RANK, MASTER_ADDR, PORT (29500), GPUS on each' >&2
    exit 2
fi
config=$1
gpus=$2
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}"

if ! [[ $gpus =~ ^[1-9][0-9]*$ ]]; then
    echo "$0: GPUS must be a number, got '$gpus'; usage: $0 CONFIG GPUS [options]" >&2
    exit 2
fi
# once and in one line, not by every process with torchrun's traceback
"${PYTHON:-python}" "$here/command_line.py" train.py "$config" "$@"

if ((${NNODES:-1} > 1)) && [ -z "${MASTER_ADDR:-}" ]; then
    echo "$0: with several machines, MASTER_ADDR must name the first" >&2
    exit 2
fi
if ((${NNODES:-1} > 1)) || [ -n "${PORT:-}" ]; then
    meeting=(
        --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}"
    )
else
    meeting=(--standalone) # a free port, so that several runs fit on one machine
fi

if ((gpus > 1)); then # what torchrun and mmengine set then, without their notices
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} MKL_NUM_THREADS=${MKL_NUM_THREADS:-1}
fi
exec "${PYTHON:-python}" "$here/start_processes.py" \
    "${meeting[@]}" --nproc_per_node="$gpus" \
    "$here/train.py" "$config" --launcher pytorch "$@"
