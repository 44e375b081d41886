# default_runtime.py for mmpretrain's classifiers.
_base_ = './default_runtime.py'

default_scope = 'mmpretrain'

default_hooks = dict(
    checkpoint=dict(interval=5000, save_best='accuracy/top1', rule='greater'),
    visualization=dict(_delete_=True, type='ClsVisualizationHook', enable=False, resize=384),
)
custom_hooks = [
    dict(type='SeedIterationHook'),
    dict(type='BatchSizeHook'),  # warns when another number of GPUs changes the recipe
    dict(type='RequireWeightsHook'),  # a checkpoint that does not fit stops the run
]

visualizer = dict(type='UniversalVisualizer')
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
