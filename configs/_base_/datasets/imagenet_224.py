# ImageNet-1K as in imagenet_192.py, at 224 px.
_base_ = './imagenet_192.py'

train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].update(scale=224)  # RandomResizedCrop
test_pipeline[1].update(scale=224)  # ResizeEdge
test_pipeline[2].update(crop_size=224)  # CenterCrop

train_dataloader = dict(
    batch_size=128,  # of one GPU; 1024 with 8
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(batch_size=128, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
