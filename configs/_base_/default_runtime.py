custom_imports = dict(imports=['vil_mm'], allow_failed_imports=False)
default_scope = 'mmseg'

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
randomness = dict(seed=0)  # a resumed run repeats the uninterrupted one only with a fixed seed

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook', by_epoch=False, interval=10000, max_keep_ckpts=2, save_best='mIoU'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
custom_hooks = [
    dict(type='SeedIterationHook'),
    dict(type='BatchSizeHook'),  # warns if the number of GPUs changes the batch size
    dict(type='RequireWeightsHook'),  # stops the run if a checkpoint does not match
]

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegPanelVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='ThroughputLogProcessor', by_epoch=False)
log_to = []  # besides files: 'tensorboard', 'wandb' or both; read by tools/train.py
log_level = 'INFO'
load_from = None
resume = False
