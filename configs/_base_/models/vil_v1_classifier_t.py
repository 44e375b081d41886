# ViL-T version 1 as an ImageNet classifier: the mean of the first and the last token.
_base_ = './vil_classifier_t.py'

model = dict(
    backbone=dict(version=1, out_type='bilateral_avg'),
    head=dict(in_channels=192),
)
