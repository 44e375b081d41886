# UperNet on ViL-B, ADE20K, 1024x1024, 4,096 tokens: the recipe of the 512x512 config on larger
# crops. No such run has been made or published: no score is known. Activations are checkpointed
# (with_cp), which costs one more forward pass of the backbone.
#
#   python tools/train.py configs/ade20k/upernet_vil_b_1024x1024_ade20k.py --amp bfloat16
#   python tools/test.py configs/ade20k/upernet_vil_b_1024x1024_ade20k.py CHECKPOINT \
#       [--tiled] [--tta]
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/. From
# scratch: --cfg-options model.backbone.init_cfg=None
_base_ = [
    '../_base_/models/upernet_vil_b.py',
    '../_base_/datasets/ade20k_1024.py',
    '../_base_/schedules/schedule_160k_layer_decay.py',
    '../_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        img_size=_base_.crop_size[0],
        with_cp=True,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil2_base16_e400_in1k.th'),
    ),
    test_cfg=dict(crop_size=_base_.crop_size, stride=(683, 683)),
)
