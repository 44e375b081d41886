# upernet_vil_b_512x512_ade20k.py with its parameters, gradients and moments split over the GPUs
# (FSDP), each block gathered when it runs; docs/distributed.md.
#
#   tools/dist_train.sh configs/strategies/upernet_vil_b_512x512_ade20k_fsdp.py GPUS
_base_ = '../upernet_vil_b_512x512_ade20k.py'

custom_imports = dict(imports=['vil_mm', 'vil_mm.engine.strategies'])
runner_type = 'FlexibleRunner'
strategy = dict(
    type='WholeShapesFSDPStrategy',
    model_wrapper=dict(
        auto_wrap_policy=dict(
            type='torch.distributed.fsdp.wrap.size_based_auto_wrap_policy',
            min_num_params=int(1e6),
        ),
        use_orig_params=True,  # groups of the optimizer need parameters, not flat shards
    ),
    state_dict_cfg='full',  # one file, as of any other run: another number of GPUs can resume it
)
# without RequireWeightsHook, which compares whole parameters
custom_hooks = [dict(type='SeedIterationHook'), dict(type='BatchSizeHook')]
