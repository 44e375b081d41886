# Mask R-CNN on ViL-S, COCO, crops of 1024x1024, 270,000 updates of 16 images.
#
# No detection results of ViL have been published and this run has not been made: no score is known.
# The recipe is that of mask_rcnn_vil_t_3x_coco.py, with more drop path for more width. Needs
# mmdetection and an mmcv with compiled operators (docs/other_tasks.md).
#
#   python tools/train.py configs/det/mask_rcnn_vil_s_3x_coco.py --amp bfloat16
#   python tools/test.py configs/det/mask_rcnn_vil_s_3x_coco.py CHECKPOINT
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/. From
# scratch: --cfg-options model.backbone.init_cfg=None
_base_ = './mask_rcnn_vil_t_3x_coco.py'

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil2_small16_e400_in1k.th'),
    ),
    neck=[
        dict(
            type='mmseg.Feature2Pyramid',
            embed_dim=384,
            rescales=[4, 2, 1, 0.5],
            norm_cfg=_base_.norm_cfg,
        ),
        dict(
            type='FPN',
            in_channels=[384, 384, 384, 384],
            out_channels=256,
            norm_cfg=_base_.norm_cfg,
            num_outs=5,
        ),
    ],
)
