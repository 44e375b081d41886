# Block design "quad" of ViL-T (version 1), 100 classes of ImageNet at 128 px: 400 epochs, 8 GPUs x
# 128 images. Every layer reads rows and columns from both ends, each with its own weights.
# Vision-LSTM (Alkin et al., arXiv:2406.04303v1), block designs (Table 2): top-1 76.3.
#
#   torchrun --nproc-per-node 8 tools/train.py configs/block_designs/vil_v1_t_in100_128_quad.py \
#       --launcher pytorch
_base_ = [
    '../_base_/models/vil_v1_classifier_t.py',
    '../_base_/datasets/imagenet100_128.py',
    '../_base_/schedules/in100_e400.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(img_size=128, traversal='quad'),
    head=dict(num_classes=100),
)
