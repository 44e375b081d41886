# schedule_160k.py for a pre-trained backbone: the learning rate is multiplied by 0.65 per block
# towards the input, from the last block on; decoder, auxiliary head and pyramid have the full rate.
_base_ = './schedule_160k.py'

batch_size = 16  # of all GPUs together

optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.65),
)
auto_scale_lr = dict(base_batch_size=batch_size, enable=False)
