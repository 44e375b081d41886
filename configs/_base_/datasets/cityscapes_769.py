# Cityscapes as in cityscapes_1024.py, crops of 769 px.
_base_ = './cityscapes_1024.py'

crop_size = (769, 769)

train_pipeline = _base_.train_pipeline
train_pipeline[4].update(crop_size=crop_size)  # RandomCrop

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
