# UperNet on DeiT-III-B, ADE20K, 512x512: recipe, heads, data and evaluation of
# upernet_vil_b_512x512_ade20k.py with another backbone, so that the two compare like with like;
# docs/peers.md lists published scores with their recipes, and sources of the initial weights.
#
#   python tools/train.py configs/baselines/upernet_deit3_b_512x512_ade20k.py --amp
_base_ = '../upernet_vil_b_512x512_ade20k.py'

custom_imports = dict(imports=['vil_mm', 'vil_mm.models.backbones.deit3'])
model = dict(
    backbone=dict(
        _delete_=True,
        type='TwoNormDeiT3',
        arch='base',
        img_size=512,
        out_type='featmap',
        out_indices=(3, 5, 7, 11),  # after blocks 4, 6, 8 and 12, without a norm, as of ViL
        final_norm=False,
        drop_path_rate=0.1,  # grows from 0 at the first block
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/deit3-base-p16_3rdparty_in1k_20221008-60b8c8bf.pth',
            prefix='backbone.',
        ),
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'cls_token': dict(decay_mult=0.0)}))
