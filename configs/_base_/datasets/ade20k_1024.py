# ADE20K as in ade20k.py, at 1024 px.
_base_ = './ade20k.py'

crop_size = (1024, 1024)
resize_scale = (4096, 1024)

train_pipeline, protocols = _base_.train_pipeline, _base_.protocols
train_pipeline[3].update(scale=resize_scale)  # RandomResize
train_pipeline[4].update(crop_size=crop_size)  # RandomCrop
train_pipeline[7].update(size=crop_size)  # CenteredPad
protocols['official']['test_pipeline'][1].update(scale=crop_size)  # Resize
protocols['community']['test_pipeline'][1].update(scale=resize_scale)  # Resize
test_pipeline = protocols['official']['test_pipeline']

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
