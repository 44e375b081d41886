# UperNet on ViL-T with a narrow decoder, drawn shapes, from scratch: the run of `make demo`, a few
# minutes on 2 CPU cores.
#
#   python tools/draw_dataset.py data/drawn
#   python tools/train.py configs/upernet_vil_t_drawn.py
_base_ = [
    './_base_/models/upernet_vil_t.py',
    './_base_/datasets/drawn.py',
    './_base_/schedules/schedule_160k.py',
    './_base_/default_runtime.py',
]

max_iters = 240
warmup_iters = 20

model = dict(
    # evaluation pads to whole patches, and takes the padding off the prediction again
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size_divisor=16)),
    backbone=dict(img_size=_base_.crop_size[0]),
    decode_head=dict(channels=64, num_classes=8),
    auxiliary_head=dict(channels=64, num_classes=8),
    test_cfg=dict(_delete_=True, mode='whole'),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1 / (warmup_iters + 1),
        by_epoch=False,
        begin=0,
        end=warmup_iters + 1,
    ),
    dict(
        type='CosineAnnealingLR',
        T_max=max_iters - 1 - warmup_iters,
        eta_min_ratio=1e-3,
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=60)
default_hooks = dict(logger=dict(interval=15), checkpoint=dict(interval=60))
auto_scale_lr = dict(base_batch_size=8)
