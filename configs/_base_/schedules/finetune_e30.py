# Fine-tuning of version 1 with more tokens: 30 epochs at a batch size of 1024, hardly any weight
# decay. After 5 epochs of warm-up the learning rate is constant: a cosine from peak to peak.
_base_ = './finetune_e20.py'

updates_per_epoch = 1251  # 1,281,167 images // 1024
max_iters = 30 * updates_per_epoch
warmup_iters = 5 * updates_per_epoch
peak_lr = 1e-5
end_lr = 1e-5

optim_wrapper = dict(optimizer=dict(weight_decay=1e-8))
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
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=updates_per_epoch)
