# AdamW, 1500 updates of linear warm-up, then cosine to 1e-6 at the last update. No weight decay for
# one-dimensional parameters (biases, norms, skips) and the position embedding. Updates with a
# non-finite loss or gradient are skipped; more than 50 in a row, or 1000 in all, stop the training.
max_iters = 160000
warmup_iters = 1500
base_lr = 5e-4
end_lr = 1e-6

optim_wrapper = dict(
    type='FiniteLossOptimWrapper',  # tools/train.py --amp changes it to float16 or bfloat16
    optimizer=dict(type='AdamW', lr=base_lr, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.0, custom_keys={'pos_embed': dict(decay_mult=0.0)}),
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
        eta_min_ratio=end_lr / base_lr,
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
    ),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=10000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=16, enable=False)
