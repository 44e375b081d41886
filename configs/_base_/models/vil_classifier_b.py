# ViL-B version 2 as an ImageNet classifier, as vil_classifier_t.py.
_base_ = './vil_classifier_t.py'

model = dict(
    backbone=dict(arch='base'),
    head=dict(in_channels=1536),  # two tokens
)
