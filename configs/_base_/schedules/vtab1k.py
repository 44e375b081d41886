# One data set of VTAB-1K: 50 epochs at a batch size of 64, a tenth of them warm-up, then cosine.
# The learning rate is multiplied by 0.65 per block towards the input; norms after the blocks and
# the head have the full rate. The source does not specify the final learning rate.
_base_ = '../datasets/vtab1k.py'

batch_size = 64
updates_per_epoch = dict(train800val200=1000, train800=800)[_base_.train_list] // batch_size
max_iters = 50 * updates_per_epoch
warmup_iters = max_iters // 10
peak_lr = 1e-3  # from the grid 1e-3, 7.5e-4, 5e-4, 2.5e-4, 1e-4
end_lr = 1e-6

optim_wrapper = dict(
    type='AutocastOptimWrapper',  # bfloat16, on any device
    optimizer=dict(type='AdamW', lr=peak_lr, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        flat_decay_mult=0.0,
        custom_keys={'pos_embed': dict(decay_mult=0.0)},
    ),
)
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
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
