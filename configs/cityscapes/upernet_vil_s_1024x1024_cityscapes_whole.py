# upernet_vil_s_1024x1024_cityscapes.py, evaluated on the whole image, 2048x1024, in one pass: 8,192
# tokens, to which the cost of ViL is linear. Weights of one serve the other.
#
#   python tools/train.py configs/cityscapes/upernet_vil_s_1024x1024_cityscapes_whole.py \
#       --amp bfloat16
#   python tools/test.py configs/cityscapes/upernet_vil_s_1024x1024_cityscapes_whole.py CHECKPOINT \
#       [--tta]
_base_ = './upernet_vil_s_1024x1024_cityscapes.py'

model = dict(
    data_preprocessor=dict(test_cfg=dict(size_divisor=16)),  # sizes of --tta
    test_cfg=dict(_delete_=True, mode='whole'),
)
