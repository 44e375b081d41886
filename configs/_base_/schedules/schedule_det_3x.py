# Detection, "3x": 270,000 updates at a batch size of 16, 36.8 passes over COCO's 117,266 images
# that have objects. AdamW at 1e-4, 1000 updates of linear warm-up, divided by 10 after 8/9 and
# 26/27 of the run, gradients clipped at norm 1. The learning rate is multiplied by 0.7 per block
# towards the input, from the last block on; pyramid and heads have the full rate. No weight decay
# for one-dimensional parameters (biases, norms, skips) and the position embedding.
#
# Weight decay, layer-wise decay and milestones are those of ViTDet's ViT-B (Li et al., ECCV 2022;
# 100 epochs of 64 images, also at 1e-4). Learning rate, batch size, length and warm-up are those of
# mmdetection's configs of Swin, clipping is that of ViL's pre-training. Nothing has been tuned for
# ViL.
max_iters = 270000
warmup_iters = 1000
batch_size = 16  # of all GPUs together

optim_wrapper = dict(
    type='FiniteLossOptimWrapper',  # tools/train.py --amp makes it float16 or bfloat16
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.7,
        flat_decay_mult=0.0,
        custom_keys={'pos_embed': dict(decay_mult=0.0)},
    ),
    clip_grad=dict(max_norm=1.0),
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
        type='MultiStepLR',
        milestones=[max_iters * 8 // 9, max_iters * 26 // 27],
        gamma=0.1,
        by_epoch=False,
        begin=0,
        end=max_iters,
    ),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 27)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=batch_size, enable=False)
