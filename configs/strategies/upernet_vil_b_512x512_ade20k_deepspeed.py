# upernet_vil_b_512x512_ade20k.py under DeepSpeed's ZeRO, stage 2: gradients and moments split over
# the GPUs, bfloat16; docs/distributed.md. Needs `pip install deepspeed`.
# batch_size is per GPU: the total must be 16, or the learning rate needs to change.
#
#   tools/dist_train.sh configs/strategies/upernet_vil_b_512x512_ade20k_deepspeed.py 8 \
#       --cfg-options train_dataloader.batch_size=2
_base_ = '../upernet_vil_b_512x512_ade20k.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='DeepSpeedStrategy',
    bf16=dict(enabled=True),
    inputs_to_half=['inputs'],  # the images, of what the data preprocessor returns
    zero_optimization=dict(stage=2, overlap_comm=True, contiguous_gradients=True),
)
# DeepSpeed has its own step: losses that are not finite are not skipped
optim_wrapper = dict(type='DeepSpeedOptimWrapper')
# weights are compared when the backbone reads them; the hook reads checkpoints of one file
custom_hooks = [dict(type='SeedIterationHook'), dict(type='BatchSizeHook')]
