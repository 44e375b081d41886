#!/usr/bin/env bash
# The demo: draw a data set, train UperNet on ViL-T with it, evaluate, and say where everything is.
# The same commands, with another config, train on real data. A finished demo is not trained again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=.venv/bin/python
config=configs/upernet_vil_t_drawn.py
work=work_dirs/upernet_vil_t_drawn
mkdir -p "$work"

# Runs a command with its full output in $work/$1.log and only its progress on the screen.
run() {
    local log=$work/$1.log
    shift
    echo "+ $*"
    if ! "$@" 2>&1 | tee "$log" | { grep --line-buffered -oE 'Iter\(train\).*loss: [0-9.]+|Iter\(val\).*mIoU.*' || true; }; then
        tail -n 30 "$log" >&2
        echo "demo: the command above failed; its whole output is in $log" >&2
        exit 1
    fi
}

run draw "$python" tools/draw_dataset.py data/drawn
run train "$python" tools/train.py "$config" --resume
run test "$python" tools/test.py "$config" "$(ls "$work"/best_mIoU_iter_*.pth)" \
    --work-dir "$work/test" --show-dir "$work/pictures"
run curves "$python" tools/analyze_logs.py "$work"
"$python" tools/report.py "$config" "$work" 2>"$work/report.log" | grep -v 'Could not import' || {
    cat "$work/report.log" >&2
    exit 1
}
echo "To train anew, remove $work first; the full output of each step is in its .log files."
