# ViL-T (version 1) classifying by the first and the last token side by side, fine-tuning on
# ImageNet-1K at 224 px: 30 epochs, 8 GPUs x 128 images. For another pooling change out_type,
# in_channels (192 for all others) and load_from.
# Vision-LSTM (Alkin et al., arXiv:2406.04303v1), pooling study; which stage its 76.4 belongs to is
# left open. The 5 epochs of warm-up are those of the other fine-tuning runs.
#
#   torchrun --nproc-per-node 8 tools/train.py \
#       configs/poolings/vil_v1_t_in1k_224_bilateral_concat.py --launcher pytorch
_base_ = [
    '../_base_/models/vil_v1_classifier_t.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/finetune_e30.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(out_type='bilateral_concat'),
    head=dict(in_channels=384),
)
load_from = 'work_dirs/vil_v1_t_in1k_192_bilateral_concat/iter_500400.pth'
