# UperNet on ViL-T, CamVid (11 classes), from scratch, at the frames' own 480x360.
#
#   python tools/train.py configs/upernet_vil_t_camvid.py
_base_ = [
    './_base_/models/upernet_vil_t.py',
    './_base_/datasets/camvid.py',
    './_base_/schedules/schedule_160k.py',
    './_base_/default_runtime.py',
]

max_iters = 8000
warmup_iters = 400

model = dict(
    # evaluation pads to whole patches, and takes the padding off the prediction again
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size_divisor=16)),
    backbone=dict(img_size=(352, 480)),
    decode_head=dict(num_classes=11),
    auxiliary_head=dict(num_classes=11),
    test_cfg=dict(_delete_=True, mode='whole'),
)
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
        eta_min_ratio=2e-3,
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
auto_scale_lr = dict(base_batch_size=8)
