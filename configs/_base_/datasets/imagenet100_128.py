# The first 100 classes of ImageNet-1K (indices 0 to 99) at 128 px: 129,395 training and 5,000
# validation images; docs/datasets.md
_base_ = './imagenet_192.py'

data_preprocessor = dict(num_classes=100)

train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].update(scale=128)  # RandomResizedCrop
test_pipeline[1].update(scale=128)  # ResizeEdge
test_pipeline[2].update(crop_size=128)  # CenterCrop

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
