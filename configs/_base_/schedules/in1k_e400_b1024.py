# The pre-training of in1k_e800.py over 400 epochs at a batch size of 1024.
_base_ = './in1k_e800.py'

batch_size = 1024  # of all GPUs together
updates_per_epoch = 1251  # 1,281,167 images // 1024
max_iters = 400 * updates_per_epoch
warmup_iters = 5 * updates_per_epoch
peak_lr = 1e-3 * batch_size / 1024  # 1e-3
end_lr = 1e-6

optim_wrapper = dict(optimizer=dict(lr=peak_lr))
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
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=10 * updates_per_epoch
)
