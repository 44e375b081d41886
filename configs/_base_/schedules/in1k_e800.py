# ImageNet pre-training at a batch size of 2048: 800 epochs, 5 of them linear warm-up, then cosine
# to 1e-6 at the last update. No weight decay for one-dimensional parameters (biases, norms,
# skips) and the position embedding.
batch_size = 2048  # of all GPUs together
updates_per_epoch = 625  # 1,281,167 images // 2048
max_iters = 800 * updates_per_epoch
warmup_iters = 5 * updates_per_epoch
peak_lr = 1e-3 * batch_size / 1024  # 2e-3
end_lr = 1e-6

optim_wrapper = dict(
    type='AutocastOptimWrapper',  # bfloat16, on any device
    optimizer=dict(type='AdamW', lr=peak_lr, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.0, custom_keys={'pos_embed': dict(decay_mult=0.0)}),
    clip_grad=dict(max_norm=1.0),
)
auto_scale_lr = dict(base_batch_size=batch_size, enable=False)
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
