# ViL-T (version 2), pre-training on ImageNet-1K at 192 px: 800 epochs, 8 GPUs x 256 images.
# Vision-LSTM (Alkin et al., ICLR 2025), recipe of the ImageNet-1K table: the authors' log ends at
# top-1 76.98 (best 77.05) at 192 px, and the paper has 78.3 after vil_t_in1k_224_finetune.py.
#
#   torchrun --nproc-per-node 8 tools/train.py configs/imagenet/vil_t_in1k_192_e800.py \
#       --launcher pytorch
_base_ = [
    '../_base_/models/vil_classifier_t.py',
    '../_base_/datasets/imagenet_192.py',
    '../_base_/schedules/in1k_e800.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(img_size=192),
)
