# ViL-T (version 1), training on ImageNet-1K at 224 px: 400 epochs, 8 GPUs x 128 images.
# Vision-LSTM (Alkin et al., arXiv:2406.04303v1), ImageNet-1K table: top-1 76.1. Its appendix gives
# 5.0 A100-hours per epoch.
#
#   torchrun --nproc-per-node 8 tools/train.py configs/imagenet_v1/vil_v1_t_in1k_224_e400.py \
#       --launcher pytorch
_base_ = [
    '../_base_/models/vil_v1_classifier_t.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/in1k_e400_b1024.py',
    '../_base_/default_runtime_cls.py',
]
