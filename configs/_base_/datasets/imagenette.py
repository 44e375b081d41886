# Imagenette, 10 easy classes of ImageNet, at 64 px; docs/datasets.md. The pipeline of imagenet_192.py
# but for crops of at least 0.35 of the area, not 0.08: little is left of a picture of this size.
_base_ = './imagenet_192.py'

data_root = 'data/imagenette'
metainfo = dict(
    classes=(
        'tench', 'English springer', 'cassette player', 'chain saw', 'church', 'French horn',
        'garbage truck', 'gas pump', 'golf ball', 'parachute',
    ),
)  # fmt: skip
data_preprocessor = dict(num_classes=10)

train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(
        type='LoadImageFromFile',
        imdecode_backend='pillow',
        color_type='color_ignore_orientation',
    ),
    dict(
        type='RandomResizedCrop',
        scale=64,
        crop_ratio_range=(0.35, 1.0),
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
    dict(type='ResizeEdge', scale=64, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        metainfo=metainfo,
        data_root=data_root,
        data_prefix='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        metainfo=metainfo,
        data_root=data_root,
        data_prefix='val',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
