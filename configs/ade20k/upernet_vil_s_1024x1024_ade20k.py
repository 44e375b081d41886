# UperNet on ViL-S, ADE20K, 1024x1024, 4,096 tokens: the recipe of the 512x512 config on larger
# crops. No such run has been made or published: no score is known. Activations are checkpointed
# (with_cp), which costs one more forward pass of the backbone.
#
#   python tools/train.py configs/ade20k/upernet_vil_s_1024x1024_ade20k.py --amp bfloat16
#   python tools/test.py configs/ade20k/upernet_vil_s_1024x1024_ade20k.py CHECKPOINT \
#       [--tiled] [--tta]
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/. From
# scratch: --cfg-options model.backbone.init_cfg=None
_base_ = [
    '../_base_/models/upernet_vil.py',
    '../_base_/datasets/ade20k_1024.py',
    '../_base_/schedules/schedule_160k_layer_decay.py',
    '../_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    backbone=dict(
        arch='small',
        img_size=1024,
        drop_path_rate=0.05,  # grows from 0 at the first layer
        with_cp=True,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil2_small16_e400_in1k.th'),
    ),
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384, channels=384),
    test_cfg=dict(crop_size=(1024, 1024), stride=(683, 683)),
)
