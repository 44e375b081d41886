# ViL-B version 1 as an ImageNet classifier, as vil_v1_classifier_t.py.
_base_ = './vil_v1_classifier_t.py'

model = dict(
    backbone=dict(arch='base'),
    head=dict(in_channels=768),
)
