# FPN head on ViL-T, ADE20K, 512x512: the pyramid and the recipe of upernet_vil_t_512x512_ade20k.py
# under the light head of Panoptic Feature Pyramid Networks (Kirillov et al., CVPR 2019). No such
# run has been made or published: no score is known.
#
#   python tools/train.py configs/ade20k/fpn_vil_t_512x512_ade20k.py --amp bfloat16
#   python tools/test.py configs/ade20k/fpn_vil_t_512x512_ade20k.py CHECKPOINT [--tta]
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/. From
# scratch: --cfg-options model.backbone.init_cfg=None
_base_ = '../upernet_vil_t_512x512_ade20k.py'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='FPNHead',
        in_channels=[192, 192, 192, 192],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
