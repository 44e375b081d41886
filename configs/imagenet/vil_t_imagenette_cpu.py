# ViL-T (version 2) on Imagenette, 10 classes of ImageNet, at 64 px and from scratch: the ImageNet
# pipeline, half an hour on a CPU with 2 cores. Every other batch is mixed, not every one.
#
#   python tools/train.py configs/imagenet/vil_t_imagenette_cpu.py
_base_ = [
    '../_base_/models/vil_classifier_t.py',
    '../_base_/datasets/imagenette.py',
    '../_base_/schedules/in1k_e800.py',
    '../_base_/default_runtime_cls.py',
]

batch_size = 32
updates_per_epoch = 295  # 9,469 images // 32
max_iters = 2000
warmup_iters = 100
peak_lr = 1e-3
end_lr = 1e-6

model = dict(
    backbone=dict(img_size=64),
    head=dict(num_classes=10),
    train_cfg=dict(probs=[0.25, 0.25]),
)
train_dataloader = dict(batch_size=batch_size, pin_memory=False)
val_dataloader = dict(pin_memory=False)
test_dataloader = val_dataloader
# float32: bfloat16 takes several times as long on CPUs that compute in it only by conversion
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=peak_lr))
auto_scale_lr = dict(base_batch_size=batch_size)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=1 / (warmup_iters + 1), by_epoch=False, end=warmup_iters + 1
    ),
    dict(
        type='CosineAnnealingLR',
        T_max=max_iters - 1 - warmup_iters,
        eta_min_ratio=end_lr / peak_lr,
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=250)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=250))
