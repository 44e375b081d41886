# ADE20K as in ade20k.py, at 640 px.
_base_ = './ade20k.py'

crop_size = (640, 640)
resize_scale = (2560, 640)

sizes = dict(  # changes to the transforms of ade20k.py, by type
    RandomResize=dict(scale=resize_scale),
    RandomCrop=dict(crop_size=crop_size),
    CenteredPad=dict(size=crop_size),
    Resize=dict(scale=crop_size),
)
train_pipeline = [{**step, **sizes.get(step.type, {})} for step in _base_.train_pipeline]
test_pipeline = [{**step, **sizes.get(step.type, {})} for step in _base_.test_pipeline]
protocols = dict(
    official=dict(test_pipeline=test_pipeline),
    community=dict(
        test_pipeline=[
            {**step, 'scale': resize_scale} if step.type == 'Resize' else step
            for step in _base_.protocols.community.test_pipeline
        ],
    ),
)

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
