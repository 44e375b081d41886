# UperNet on ViL-S, LoveDA (aerial images, 7 classes), crops of 1024x1024, which is the size of the
# images. No such run has been made or published: no score is known.
#
#   python tools/train.py configs/loveda/upernet_vil_s_1024x1024_loveda.py --amp bfloat16
#   python tools/test.py configs/loveda/upernet_vil_s_1024x1024_loveda.py CHECKPOINT [--tiled]
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/. From
# scratch: --cfg-options model.backbone.init_cfg=None
_base_ = [
    '../_base_/models/upernet_vil_s.py',
    '../_base_/datasets/loveda.py',
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
    decode_head=dict(num_classes=7),
    auxiliary_head=dict(num_classes=7),
    test_cfg=dict(crop_size=_base_.crop_size, stride=(683, 683)),
)
