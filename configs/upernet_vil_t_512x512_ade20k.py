# UperNet on ViL-T, ADE20K, 512x512, 11M parameters.
# Vision-LSTM (Alkin et al., ICLR 2025) publishes, from ImageNet weights,
# mIoU 41.2 single-scale, 43.1 multi-scale.
# As it stands no weights are named, so it trains from scratch, and the published recipe's
# layer-wise learning rate decay is not in it yet: expect less.
#
#   python tools/train.py configs/upernet_vil_t_512x512_ade20k.py
_base_ = [
    './_base_/models/upernet_vil.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/schedule_160k.py',
    './_base_/default_runtime.py',
]
