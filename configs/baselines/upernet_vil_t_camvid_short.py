# UperNet on ViL-T, CamVid at 240x180, crops of 112x160, 300 updates of 4, from scratch: at most a
# quarter of an hour on one core. Its peers upernet_{deit_t,swin_t}_camvid_short.py inherit all of
# it (data, decoder, AdamW with learning rate 5e-4 and weight decay 0.05, neither layer decay nor
# drop path) and replace the backbone alone; docs/peers.md has the results.
#
#   python tools/train.py configs/baselines/upernet_vil_t_camvid_short.py
_base_ = '../upernet_vil_t_camvid_cpu.py'

max_iters = 300
warmup_iters = 20
crop_size = (112, 160)

model = dict(data_preprocessor=dict(size=crop_size), backbone=dict(img_size=crop_size))
train_pipeline = [
    {**step, 'crop_size': crop_size} if step.type == 'RandomCrop' else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
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
default_hooks = dict(checkpoint=dict(interval=150))
auto_scale_lr = dict(base_batch_size=4)
