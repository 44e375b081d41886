# The first 100 classes of ImageNet: 400 epochs at a batch size of 1024, 50 of them warm-up.
_base_ = './in1k_e400_b1024.py'

updates_per_epoch = 126  # 129,395 images // 1024
max_iters = 400 * updates_per_epoch
warmup_iters = 50 * updates_per_epoch

param_scheduler = _base_.param_scheduler
param_scheduler[0].update(start_factor=1 / (warmup_iters + 1), end=warmup_iters + 1)
param_scheduler[1].update(T_max=max_iters - 1 - warmup_iters, begin=warmup_iters, end=max_iters)
train_cfg = dict(max_iters=max_iters, val_interval=10 * updates_per_epoch)
