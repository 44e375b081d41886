# The first 100 classes of ImageNet-1K (indices 0 to 99) at 128 px: 129,395 training and 5,000
# validation images; docs/datasets.md
_base_ = './imagenet_192.py'

image_size = 128
data_preprocessor = dict(num_classes=100)

sizes = dict(  # what changes in the steps of imagenet_192.py, by their types
    RandomResizedCrop=dict(scale=image_size),
    ResizeEdge=dict(scale=image_size),
    CenterCrop=dict(crop_size=image_size),
)
train_pipeline = [{**step, **sizes.get(step.type, {})} for step in _base_.train_pipeline]
test_pipeline = [{**step, **sizes.get(step.type, {})} for step in _base_.test_pipeline]

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
