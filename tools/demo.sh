#!/usr/bin/env bash
# The demo: draw a data set, train UperNet on ViL-T with it, evaluate, and say where everything is.
# The same commands, with another config, train on real data. Steps that are done are not done again;
# a training that was killed goes on from its last checkpoint.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=.venv/bin/python
config=configs/upernet_vil_t_drawn.py
work=work_dirs/upernet_vil_t_drawn
end='demo: this step is done'
mkdir -p "$work"

# Runs a command once, with its full output in $work/$1.log and only its progress on the screen.
run() {
    local log=$work/$1.log
    if [ -f "$log" ] && [ "$(tail -n 1 "$log")" = "$end" ]; then
        printf '= %s: done before, see %s\n' "$1" "$log"
        return
    fi
    shift
    echo "+ $*"
    if ! "$@" 2>&1 | tee -a "$log" | { grep --line-buffered -oE 'Iter\(train\).*loss: [0-9.]+|Iter\(val\).*mIoU.*' || true; }; then
        tail -n 30 "$log" >&2
        echo "demo: the command above failed; its whole output is in $log" >&2
        exit 1
    fi
    echo "$end" >>"$log"
}

run draw "$python" tools/draw_dataset.py data/drawn
run train "$python" tools/train.py "$config" --resume
run test "$python" tools/test.py "$config" "$(ls "$work"/best_mIoU_iter_*.pth)" --show-dir "$work/pictures"
run curves "$python" tools/analyze_logs.py "$work"
"$python" tools/report.py "$config" "$work"
echo "To train anew, remove $work first; the full output of each step is in its .log files."
