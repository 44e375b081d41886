# ImageNet-A, evaluation only: 7,500 images that fool a ResNet-50, of 200 classes of ImageNet-1K;
# docs/datasets.md
_base_ = '../loaders/classification_eval.py'

load_image = dict(
    type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'
)
test_pipeline = [
    load_image,
    dict(type='ResizeEdge', scale=224, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

val_dataloader = dict(
    dataset=dict(
        type='ImageNetFolders',
        data_root='data/imagenet-a',
        num_folders=200,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='SubsetAccuracy')
test_evaluator = val_evaluator
