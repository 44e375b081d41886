# UperNet on ViL-B, as upernet_vil_t.py.
_base_ = './upernet_vil_t.py'

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.1),  # grows from 0 at the first layer
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768, 768, 768, 768], channels=384),
    auxiliary_head=dict(in_channels=768, channels=384),
)
