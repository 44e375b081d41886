# UperNet on ViL-B, ADE20K, 640x640, 1,600 tokens: the recipe of the 512x512 config on larger crops.
# No such run has been made or published: no score is known.
#
#   python tools/train.py configs/ade20k/upernet_vil_b_640x640_ade20k.py --amp bfloat16
#   python tools/test.py configs/ade20k/upernet_vil_b_640x640_ade20k.py CHECKPOINT [--tiled] [--tta]
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/. From
# scratch: --cfg-options model.backbone.init_cfg=None
_base_ = [
    '../_base_/models/upernet_vil_b.py',
    '../_base_/datasets/ade20k_640.py',
    '../_base_/schedules/schedule_160k_layer_decay.py',
    '../_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        img_size=_base_.crop_size[0],
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil2_base16_e400_in1k.th'),
    ),
    test_cfg=dict(crop_size=_base_.crop_size, stride=(427, 427)),
)
