# UperNet on ViL-S, as upernet_vil_t.py.
_base_ = './upernet_vil_t.py'

model = dict(
    backbone=dict(arch='small', drop_path_rate=0.05),  # grows from 0 at the first layer
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384, channels=384),
)
