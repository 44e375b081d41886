# UperNet on ViL-B, ADE20K, 512x512, 115M parameters.
# Vision-LSTM (Alkin et al., ICLR 2025) publishes, from ImageNet weights, mIoU 48.6 single-scale, 49.6 multi-scale.
# From scratch as it stands (no weights are named), and not yet with the published recipe's
# layer-wise learning rate decay and augmentation: expect less.
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
