# ImageNet-1K as in imagenet_192.py, at 224 px.
_base_ = './imagenet_192.py'

image_size = 224

sizes = dict(  # what changes in the steps of imagenet_192.py, by their types
    RandomResizedCrop=dict(scale=image_size),
    ResizeEdge=dict(scale=image_size),
    CenterCrop=dict(crop_size=image_size),
)
train_pipeline = [{**step, **sizes.get(step.type, {})} for step in _base_.train_pipeline]
test_pipeline = [{**step, **sizes.get(step.type, {})} for step in _base_.test_pipeline]

train_dataloader = dict(
    batch_size=128,  # of one GPU; 1024 with 8
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(batch_size=128, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
