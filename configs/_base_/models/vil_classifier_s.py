# ViL-S version 2 as an ImageNet classifier, as vil_classifier_t.py.
_base_ = './vil_classifier_t.py'

model = dict(
    backbone=dict(arch='small'),
    head=dict(in_channels=768),  # two tokens
)
