# default_runtime.py for mmdetection's detectors.
_base_ = './default_runtime.py'

default_scope = 'mmdet'

default_hooks = dict(
    checkpoint=dict(save_best='coco/bbox_mAP', rule='greater'),
    visualization=dict(_delete_=True, type='DetVisualizationHook'),
)
custom_hooks = [
    dict(type='SeedIterationHook'),
    dict(type='BatchSizeHook'),  # warns when another number of GPUs changes the recipe
    dict(type='RequireWeightsHook'),  # a checkpoint that does not fit stops the run
    dict(type='FloatOutputsHook'),  # boxes are float32, whatever the precision of the layers
]
visualizer = dict(type='DetLocalVisualizer')
