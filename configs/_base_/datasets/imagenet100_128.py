# The first 100 classes of ImageNet-1K (indices 0 to 99) at 128 px: 129,395 training and 5,000
# validation images; docs/datasets.md
_base_ = './imagenet_192.py'

data_preprocessor = dict(num_classes=100)

train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(
        type='LoadImageFromFile',
        imdecode_backend='pillow',
        color_type='color_ignore_orientation',
    ),
    dict(
        type='RandomResizedCrop',
        scale=128,
        crop_ratio_range=(0.08, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ThreeAugment'),
    dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(
        type='LoadImageFromFile',
        imdecode_backend='pillow',
        color_type='color_ignore_orientation',
    ),
    dict(type='ResizeEdge', scale=128, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=128),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128,  # of one GPU; 1024 with 8
    dataset=dict(
        _delete_=True,
        type='ImageNetFolders',
        data_root='data/imagenet',
        data_prefix='train',
        first_classes=100,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ImageNetFolders',
        data_root='data/imagenet',
        data_prefix='val',
        first_classes=100,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
