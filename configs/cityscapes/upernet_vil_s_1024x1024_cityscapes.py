# UperNet on ViL-S, Cityscapes (19 classes), crops of 1024x1024, evaluated by sliding windows of the
# same size. No such run has been made or published: no score is known.
#
#   python tools/train.py configs/cityscapes/upernet_vil_s_1024x1024_cityscapes.py --amp bfloat16
#   python tools/test.py configs/cityscapes/upernet_vil_s_1024x1024_cityscapes.py CHECKPOINT \
#       [--tiled] [--tta]
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/. From
# scratch: --cfg-options model.backbone.init_cfg=None
_base_ = [
    '../_base_/models/upernet_vil_s.py',
    '../_base_/datasets/cityscapes_1024.py',
    '../_base_/schedules/schedule_80k_layer_decay.py',
    '../_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        img_size=_base_.crop_size[0],
        with_cp=True,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil2_small16_e400_in1k.th'),
    ),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
    test_cfg=dict(crop_size=_base_.crop_size, stride=(683, 683)),
)
