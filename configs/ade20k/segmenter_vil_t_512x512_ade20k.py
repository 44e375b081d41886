# Segmenter's mask transformer (Strudel et al., ICCV 2021) on ViL-T, ADE20K, 512x512: two layers of
# attention over the normed tokens of the last block and one embedding per class; no pyramid. Recipe
# of upernet_vil_t_512x512_ade20k.py. No such run has been made or published: no score is known.
#
#   python tools/train.py configs/ade20k/segmenter_vil_t_512x512_ade20k.py --amp bfloat16
#   python tools/test.py configs/ade20k/segmenter_vil_t_512x512_ade20k.py CHECKPOINT [--tta]
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/. From
# scratch: --cfg-options model.backbone.init_cfg=None
_base_ = '../upernet_vil_t_512x512_ade20k.py'

model = dict(
    backbone=dict(out_indices=(11,), final_norm=True),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='SegmenterMaskTransformerHead',
        in_channels=192,
        in_index=0,
        channels=192,
        embed_dims=192,
        num_layers=2,
        num_heads=3,
        num_classes=150,
        dropout_ratio=0.0,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
