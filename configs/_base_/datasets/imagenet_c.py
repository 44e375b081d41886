# ImageNet-C, evaluation only: the 50,000 validation images of ImageNet-1K in 19 corruptions of 5
# severities; docs/datasets.md. Resized to 256 px before the crop, as for ViL's published scores.
_base_ = './imagenet_a.py'

test_pipeline = [
    _base_.load_image,
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs', meta_keys=('img_path', 'corruption', 'severity')),
]

val_dataloader = dict(
    dataset=dict(
        type='ImageNetC',
        data_root='data/imagenet-c',
        num_folders=1000,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='CorruptionAccuracy')
test_evaluator = val_evaluator
