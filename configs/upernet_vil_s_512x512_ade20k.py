# UperNet on ViL-S, ADE20K, 512x512, 42M parameters.
# Vision-LSTM (Alkin et al., ICLR 2025) publishes, from ImageNet weights, mIoU 46.3 single-scale, 47.9 multi-scale.
# From scratch as it stands (no weights are named), and not yet with the published recipe's
# layer-wise learning rate decay and augmentation: expect less.
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
