# UperNet on ViL-T, CamVid at half the frames' size and with a narrow decoder: half an hour on a CPU
# with 2 cores.
#
#   python tools/train.py configs/upernet_vil_t_camvid_cpu.py
_base_ = './upernet_vil_t_camvid.py'

max_iters = 600
warmup_iters = 40
crop_size = (176, 240)

model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(img_size=crop_size),
    decode_head=dict(channels=64),
    auxiliary_head=dict(channels=64),
)
train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(240, 180), ratio_range=(1.0, 1.6), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(240, 180), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
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
train_cfg = dict(max_iters=max_iters, val_interval=150)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=150))
