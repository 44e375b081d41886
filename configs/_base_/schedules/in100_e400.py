# The first 100 classes of ImageNet: 400 epochs at a batch size of 1024, 50 of them warm-up.
_base_ = './in1k_e400_b1024.py'

updates_per_epoch = 126  # 129,395 images // 1024
max_iters = 400 * updates_per_epoch
warmup_iters = 50 * updates_per_epoch

param_scheduler = [
    dict(
        type='LinearLR', start_factor=1 / (warmup_iters + 1), by_epoch=False, end=warmup_iters + 1
    ),
    dict(
        type='CosineAnnealingLR',
        T_max=max_iters - 1 - warmup_iters,
        eta_min_ratio=_base_.end_lr / _base_.peak_lr,
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=10 * updates_per_epoch)
