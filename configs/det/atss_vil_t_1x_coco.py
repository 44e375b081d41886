# ATSS on ViL-T, COCO, short side 800 and long side up to 1333, 90,000 updates of 16 images.
#
# No detection results of ViL have been published and this run has not been made: no score is known.
# Sizes and length are mmdetection's "1x", so that the run compares with those of its model zoo; the
# optimizer is that of _base_/schedules/schedule_det_3x.py. Needs mmdetection and an mmcv with
# compiled operators (docs/other_tasks.md).
#
#   python tools/train.py configs/det/atss_vil_t_1x_coco.py
#   python tools/test.py configs/det/atss_vil_t_1x_coco.py CHECKPOINT
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/. From
# scratch: --cfg-options model.backbone.init_cfg=None
_base_ = [
    '../_base_/models/atss_vil.py',
    '../_base_/datasets/coco_800.py',
    '../_base_/schedules/schedule_det_1x.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil2_tiny16_e800_in1k.th'),
    ),
)
