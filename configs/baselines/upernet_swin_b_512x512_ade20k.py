# UperNet on Swin-B, ADE20K, 512x512: recipe, heads, data and evaluation of
# upernet_vil_b_512x512_ade20k.py with another backbone, so that the two compare like with like;
# docs/peers.md lists published scores with their recipes, and sources of the initial weights.
#
#   python tools/train.py configs/baselines/upernet_swin_b_512x512_ade20k.py --amp
_base_ = '../upernet_vil_b_512x512_ade20k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.SwinTransformer',
        arch='base',
        img_size=512,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.1,
        pad_small_map=True,  # a map of less than a window is padded, not treated as one window
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/swin_base_patch4_window7_224-4670dd19.pth',
            prefix='backbone.',
        ),
    ),
    neck=None,  # its four stages are a pyramid
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
custom_keys = {'relative_position_bias_table': dict(decay_mult=0.0)}
optim_wrapper = dict(
    paramwise_cfg=dict(
        # over its 25 levels the learning rate falls as much as over the 13 of the others
        layer_decay_rate=0.65 ** (13 / 25),
        custom_keys=dict(_delete_=True, **custom_keys),
    ),
)
