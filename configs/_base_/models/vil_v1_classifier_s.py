# ViL-S version 1 as an ImageNet classifier, as vil_v1_classifier_t.py.
_base_ = './vil_v1_classifier_t.py'

model = dict(
    backbone=dict(arch='small'),
    head=dict(in_channels=384),
)
