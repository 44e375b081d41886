# UperNet on ViL-B, ADE20K, 512x512, 115M parameters.
# Vision-LSTM (Alkin et al., ICLR 2025) publishes, from ImageNet weights,
# mIoU 48.6 single-scale, 49.6 multi-scale.
# As it stands no weights are named, so it trains from scratch, and the published recipe's
# layer-wise learning rate decay is not in it yet: expect less.
#
#   python tools/train.py configs/upernet_vil_b_512x512_ade20k.py
_base_ = [
    './_base_/models/upernet_vil.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/schedule_160k.py',
    './_base_/default_runtime.py',
]

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.1),
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768, 768, 768, 768], channels=384),
    auxiliary_head=dict(in_channels=768, channels=384),
)
