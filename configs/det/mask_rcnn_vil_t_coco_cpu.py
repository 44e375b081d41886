# Mask R-CNN on a ViL of half the width and half the layers of T, from scratch, on a handful of
# images in COCO's layout: a quarter of an hour on a CPU core. It shows that a set-up works; it is
# trained and validated on the same images and its score is no result. docs/other_tasks.md
#
#   python tools/train.py configs/det/mask_rcnn_vil_t_coco_cpu.py
#   python tools/test.py configs/det/mask_rcnn_vil_t_coco_cpu.py CHECKPOINT --show-dir DIR
_base_ = './mask_rcnn_vil_t_3x_coco.py'

max_iters = 400
warmup_iters = 20
scale = (224, 224)
width, channels = 96, 64

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=width, num_layers=12),
        img_size=scale,
        out_indices=(2, 3, 4, 5),
        drop_path_rate=0.0,
        init_cfg=None,
    ),
    neck=[
        dict(
            type='mmseg.Feature2Pyramid',
            embed_dim=width,
            rescales=[4, 2, 1, 0.5],
            norm_cfg=_base_.norm_cfg,
        ),
        dict(
            type='FPN',
            in_channels=[width] * 4,
            out_channels=channels,
            norm_cfg=_base_.norm_cfg,
            num_outs=5,
        ),
    ],
    rpn_head=dict(in_channels=channels, feat_channels=channels, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels),
        bbox_head=dict(in_channels=channels, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=channels),
        mask_head=dict(num_convs=2, in_channels=channels, conv_out_channels=channels),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200), rcnn=dict(sampler=dict(num=128))
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)),
)

train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    {**step, 'scale': scale} if step.type == 'Resize' else step for step in _base_.test_pipeline
]
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{_base_.data_root}/annotations/instances_train2017.json')
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(lr=5e-4, weight_decay=0.0), paramwise_cfg=dict(layer_decay_rate=1.0)
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
        milestones=[max_iters * 17 // 20],
        gamma=0.1,
        by_epoch=False,
        begin=0,
        end=max_iters,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=100))
auto_scale_lr = dict(base_batch_size=2)
