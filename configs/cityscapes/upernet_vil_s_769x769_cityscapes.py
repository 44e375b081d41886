# UperNet on ViL-S, Cityscapes (19 classes), crops of 769x769, evaluated by sliding windows of
# 784x784. No such run has been made or published: no score is known. 769 is no multiple of the
# patch size 16: crops are padded to 784 with pixels that have no class, and windows have 784
# pixels, so that no feature map is stretched.
#
#   python tools/train.py configs/cityscapes/upernet_vil_s_769x769_cityscapes.py --amp bfloat16
#   python tools/test.py configs/cityscapes/upernet_vil_s_769x769_cityscapes.py CHECKPOINT \
#       [--tiled] [--tta]
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/. From
# scratch: --cfg-options model.backbone.init_cfg=None
_base_ = [
    '../_base_/models/upernet_vil_s.py',
    '../_base_/datasets/cityscapes_769.py',
    '../_base_/schedules/schedule_80k_layer_decay.py',
    '../_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=None, size_divisor=16),
    backbone=dict(
        img_size=784,
        with_cp=True,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil2_small16_e400_in1k.th'),
    ),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
    test_cfg=dict(crop_size=(784, 784), stride=(523, 523)),
)
