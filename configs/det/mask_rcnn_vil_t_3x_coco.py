# Mask R-CNN on ViL-T, COCO, crops of 1024x1024, 270,000 updates of 16 images.
#
# No detection results of ViL have been published and this run has not been made: no score is known.
# The recipe is put together from ViTDet's and mmdetection's: _base_/schedules/schedule_det_3x.py.
# Needs mmdetection and an mmcv with compiled operators (docs/other_tasks.md).
#
#   python tools/train.py configs/det/mask_rcnn_vil_t_3x_coco.py --amp bfloat16
#   python tools/test.py configs/det/mask_rcnn_vil_t_3x_coco.py CHECKPOINT
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/; its
# position embedding of 14x14 patches is resized to 64x64. From scratch: --cfg-options
# model.backbone.init_cfg=None
_base_ = [
    '../_base_/models/mask_rcnn_vil.py',
    '../_base_/datasets/coco_1024.py',
    '../_base_/schedules/schedule_det_3x.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil2_tiny16_e800_in1k.th'),
    ),
)
