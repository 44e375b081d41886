# upernet_vil_b_512x512_ade20k.py with its parameters, gradients and moments split over the GPUs
# (FSDP), each block gathered when it runs; docs/distributed.md.
# batch_size is per GPU: the total must be 16, or the learning rate needs to change.
#
#   tools/dist_train.sh configs/strategies/upernet_vil_b_512x512_ade20k_fsdp.py 8 \
#       --cfg-options train_dataloader.batch_size=2
_base_ = '../upernet_vil_b_512x512_ade20k.py'

custom_imports = dict(imports=['vil_mm', 'vil_mm.engine.strategies'])
runner_type = 'FlexibleRunner'
strategy = dict(
    type='WholeShapesFSDPStrategy',
    model_wrapper=dict(
        auto_wrap_policy='wrap_vil_blocks',
        use_orig_params=True,  # groups of the optimizer need parameters, not flat shards
    ),
    state_dict_cfg='full',  # one file, as of any other run: another number of GPUs can resume it
)
# without RequireWeightsHook, which compares whole parameters
custom_hooks = [dict(type='SeedIterationHook'), dict(type='BatchSizeHook')]
