# Imagenette, 10 easy classes of ImageNet, at 64 px; docs/datasets.md. The pipeline of
# imagenet_192.py, but crops keep at least 0.35 of the area, not 0.08: pictures are small.
_base_ = './imagenet_192.py'

data_root = 'data/imagenette'
metainfo = dict(
    classes=(
        'tench', 'English springer', 'cassette player', 'chain saw', 'church', 'French horn',
        'garbage truck', 'gas pump', 'golf ball', 'parachute',
    ),
)  # fmt: skip
data_preprocessor = dict(num_classes=10)

train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].update(scale=64, crop_ratio_range=(0.35, 1.0))  # RandomResizedCrop
test_pipeline[1].update(scale=64)  # ResizeEdge
test_pipeline[2].update(crop_size=64)  # CenterCrop

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
