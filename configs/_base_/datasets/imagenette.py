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
image_size = 64
data_preprocessor = dict(num_classes=10)

sizes = dict(  # changes to the transforms of imagenet_192.py, by type
    RandomResizedCrop=dict(scale=image_size, crop_ratio_range=(0.35, 1.0)),
    ResizeEdge=dict(scale=image_size),
    CenterCrop=dict(crop_size=image_size),
)
train_pipeline = [{**step, **sizes.get(step.type, {})} for step in _base_.train_pipeline]
test_pipeline = [{**step, **sizes.get(step.type, {})} for step in _base_.test_pipeline]

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
