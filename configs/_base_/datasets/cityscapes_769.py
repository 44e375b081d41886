# Cityscapes as in cityscapes_1024.py, crops of 769 px.
_base_ = './cityscapes_1024.py'

crop_size = (769, 769)

train_pipeline = [
    {**step, 'crop_size': crop_size} if step.type == 'RandomCrop' else step
    for step in _base_.train_pipeline
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
