# schedule_det_3x.py in 90,000 updates, 12 passes over COCO, divided by 10 after 8 and 11 of them.
_base_ = './schedule_det_3x.py'

max_iters = 90000

milestones = [max_iters * 8 // 12, max_iters * 11 // 12]
param_scheduler = [
    {**part, 'milestones': milestones, 'end': max_iters} if part.type == 'MultiStepLR' else part
    for part in _base_.param_scheduler
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 9)
