#!/usr/bin/env bash
# Every test of the kernels and every benchmark in its quick form on one GPU, in under 20 minutes.
# Compiling for other GPUs ahead of time is left out: it needs none.
#
#   bash benchmarks/gpu_suite.sh OUT [PYTHON]
#
# OUT gets a log for each part, what the benchmarks write, and summary.txt. A part that fails or
# runs out of its time stops no other; the exit status is then 1. PYTHON is python3 if not given;
# the environment is used as it is, and no network.
set -uo pipefail

out=${1:?usage: bash benchmarks/gpu_suite.sh OUT [PYTHON]}
python=${2:-python3}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
failed=0
: >"$out/summary.txt"

# part NAME SECONDS COMMAND...
part() {
    local name=$1 limit=$2 start=$SECONDS status
    shift 2
    timeout --kill-after=5 "$limit" "$@" >"$out/$name.log" 2>&1 </dev/null
    status=$?
    case $status in
        0) status=ok ;;
        124 | 137) status="stopped after $limit s" failed=1 ;;
        *) status="failed ($status)" failed=1 ;;
    esac
    printf '%-10s %-22s %4d s  %s\n' "$name" "$status" $((SECONDS - start)) \
        "$(tail -n 1 "$out/$name.log" | cut -c 1-100)" | tee -a "$out/summary.txt"
}

# The limits, with 5 seconds each for a part that does not stop at once, add up to 1195 seconds.
part device 20 "$python" -c 'import torch; print(torch.cuda.get_device_name())'
part tests 400 "$python" -m pytest tests/mlstm tests/layers --ignore tests/mlstm/triton/test_aot.py \
    -q -p no:cacheprovider
part mlstm 200 "$python" benchmarks/mlstm.py --device cuda --quick --out "$out"
part orders 60 "$python" benchmarks/scan_orders.py --device cuda --quick --out "$out"
part backbone 230 "$python" benchmarks/backbone.py --device cuda --quick --out "$out"
part traversal 100 "$python" benchmarks/backbone.py --table traversal --device cuda --quick \
    --out "$out"
part upernet 150 "$python" benchmarks/upernet.py --device cuda --quick --out "$out"
exit $failed
