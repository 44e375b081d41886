#!/usr/bin/env bash
# The main job in small: trains UperNet on ViL-T for two steps on a dozen real images, tests the
# checkpoint that this wrote, and looks for the score and the pictures a user would look for. Then a
# classifier, in the same way.
# VIL_MM_TEST_DATA names the folder with the images, in ade20k_mini/ and imagenette_mini/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${VIL_MM_TEST_DATA:-}/ade20k_mini
if [ -z "${VIL_MM_TEST_DATA:-}" ] || [ ! -d "$data" ]; then
    echo 'main job: skipped, VIL_MM_TEST_DATA names no folder with ade20k_mini/'
    exit 0
fi

config=configs/upernet_vil_t_512x512_ade20k.py
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "main job: $1; the end of its output:" >&2
    tail -n 40 "$work/$2.log" >&2
    exit 1
}

# Prints the settings that make the loaders read the small data set in this process.
loader_options() {
    local loader
    for loader in "$@"; do
        echo "$loader.dataset.data_root=$data"
        echo "$loader.num_workers=0"
        echo "$loader.persistent_workers=False"
    done
}

mapfile -t loaders < <(loader_options train_dataloader val_dataloader test_dataloader)

echo 'main job: training for 2 steps'
.venv/bin/python tools/train.py "$config" --work-dir "$work" --cfg-options "${loaders[@]}" \
    train_dataloader.batch_size=2 train_cfg.max_iters=2 train_cfg.val_interval=2 \
    default_hooks.checkpoint.interval=2 model.backbone.init_cfg=None \
    >"$work/train.log" 2>&1 || fail 'training failed' train
[ -f "$work/iter_2.pth" ] || fail 'training wrote no checkpoint iter_2.pth' train

echo 'main job: testing the checkpoint'
.venv/bin/python tools/test.py "$config" "$work/iter_2.pth" --work-dir "$work/test" \
    --show-dir "$work/show" --cfg-options "${loaders[@]}" \
    >"$work/test.log" 2>&1 || fail 'testing failed' test

score=$(grep -oE 'mIoU: +[0-9.]+' "$work/test.log" | tail -n 1) || fail 'testing printed no mIoU' test
pictures=$(find "$work" -name '*.png' -o -name '*.jpg' | wc -l)
((pictures > 0)) || fail 'testing wrote no picture' test
echo "main job: trained and tested, $score, $pictures pictures"

config=configs/imagenet/vil_t_imagenette_cpu.py
data=$VIL_MM_TEST_DATA/imagenette_mini
if [ ! -d "$data" ]; then
    echo 'main job: classifier skipped, VIL_MM_TEST_DATA names no folder with imagenette_mini/'
    exit 0
fi
mapfile -t loaders < <(loader_options train_dataloader val_dataloader test_dataloader)

echo 'main job: training a classifier for 2 steps and testing it'
.venv/bin/python tools/train.py "$config" --work-dir "$work/cls" --cfg-options "${loaders[@]}" \
    train_cfg.max_iters=2 train_cfg.val_interval=2 default_hooks.checkpoint.interval=2 \
    >"$work/train.log" 2>&1 || fail 'training a classifier failed' train
.venv/bin/python tools/test.py "$config" "$work/cls/iter_2.pth" --work-dir "$work/cls_test" \
    --cfg-options "${loaders[@]}" >"$work/test.log" 2>&1 || fail 'testing a classifier failed' test
score=$(grep -oE 'accuracy/top1: +[0-9.]+' "$work/test.log" | tail -n 1) \
    || fail 'testing printed no accuracy' test
echo "main job: classifier trained and tested, $score"
