# UperNet on ConvNeXt-B, ADE20K, 512x512: recipe, heads, data and evaluation of
# upernet_vil_b_512x512_ade20k.py with another backbone, so that the two compare like with like;
# docs/peers.md lists published scores with their recipes, and sources of the initial weights.
#
#   python tools/train.py configs/baselines/upernet_convnext_b_512x512_ade20k.py --amp
_base_ = '../upernet_vil_b_512x512_ade20k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='base',
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/convnext-base_3rdparty_32xb128-noema_in1k_20220222-dba4f95f.pth',
            prefix='backbone.',
        ),
    ),
    neck=None,  # its four stages are a pyramid
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
# there is no position embedding to exempt
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(_delete_=True)))
