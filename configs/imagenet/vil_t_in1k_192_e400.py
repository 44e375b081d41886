# ViL-T (version 2), pre-training on ImageNet-1K at 192 px: 400 epochs, 8 GPUs x 256 images.
# Vision-LSTM (Alkin et al., ICLR 2025), recipe of the ImageNet-1K table: the authors' log ends at
# top-1 75.87 (best 75.88) at 192 px, and the paper has 77.2 after vil_t_e400_in1k_224_finetune.py.
#
#   torchrun --nproc-per-node 8 tools/train.py configs/imagenet/vil_t_in1k_192_e400.py \
#       --launcher pytorch
_base_ = [
    '../_base_/models/vil_classifier_t.py',
    '../_base_/datasets/imagenet_192.py',
    '../_base_/schedules/in1k_e400.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(img_size=192),
)
