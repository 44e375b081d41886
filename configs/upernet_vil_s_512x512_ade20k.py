# UperNet on ViL-S, ADE20K, 512x512, 42M parameters.
# Vision-LSTM (Alkin et al., ICLR 2025) publishes, from ImageNet weights,
# mIoU 46.3 single-scale, 47.9 multi-scale.
# As it stands no weights are named, so it trains from scratch, and the published recipe's
# layer-wise learning rate decay is not in it yet: expect less.
#
#   python tools/train.py configs/upernet_vil_s_512x512_ade20k.py
_base_ = [
    './_base_/models/upernet_vil.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/schedule_160k.py',
    './_base_/default_runtime.py',
]

model = dict(
    backbone=dict(arch='small', drop_path_rate=0.05),
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384, channels=384),
)
