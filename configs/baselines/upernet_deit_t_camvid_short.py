# UperNet on DeiT-T, trained as upernet_vil_t_camvid_short.py: same data, decoder, optimizer,
# schedule and number of updates, from scratch. Maps after blocks 4, 6, 8 and 12
# without a norm, as of ViL.
#
#   python tools/train.py configs/baselines/upernet_deit_t_camvid_short.py
_base_ = './upernet_vil_t_camvid_short.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VisionTransformer',
        arch='deit-tiny',
        img_size=(112, 160),
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
        final_norm=False,
    ),
)
