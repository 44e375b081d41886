# schedule_160k_layer_decay.py in 80,000 updates.
_base_ = './schedule_160k_layer_decay.py'

max_iters = 80000

param_scheduler = [
    {**part, 'T_max': max_iters - 1 - _base_.warmup_iters, 'end': max_iters}
    if part.type == 'CosineAnnealingLR'
    else part
    for part in _base_.param_scheduler
]
train_cfg = dict(max_iters=max_iters)
