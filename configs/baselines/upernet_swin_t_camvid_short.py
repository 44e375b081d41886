# UperNet on Swin-T, trained as upernet_vil_t_camvid_short.py: same data, decoder, optimizer,
# schedule and number of updates, from scratch. Its four stages already are a
# pyramid, so there is no neck.
#
#   python tools/train.py configs/baselines/upernet_swin_t_camvid_short.py
_base_ = './upernet_vil_t_camvid_short.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.SwinTransformer',
        arch='tiny',
        img_size=(112, 160),
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.0,
        pad_small_map=True,  # a map of less than a window is padded, not treated as one window
    ),
    neck=None,
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
