# schedule_160k.py for a pre-trained backbone: the learning rate falls from block to block towards
# the input by 0.65, beginning with the last block; decoder, auxiliary head and pyramid have all.
_base_ = './schedule_160k.py'

batch_size = 16  # of all GPUs together

optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.65),
)
auto_scale_lr = dict(base_batch_size=batch_size, enable=False)
