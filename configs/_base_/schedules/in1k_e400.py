# The pre-training of in1k_e800.py over 400 epochs.
_base_ = './in1k_e800.py'

updates_per_epoch = 625  # 1,281,167 images // 2048
max_iters = 400 * updates_per_epoch
warmup_iters = 5 * updates_per_epoch
peak_lr = 2e-3
end_lr = 1e-6

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
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=10 * updates_per_epoch
)
