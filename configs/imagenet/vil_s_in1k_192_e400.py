# ViL-S (version 2), pre-training on ImageNet-1K at 192 px: 400 epochs, 8 GPUs x 256 images.
# Vision-LSTM (Alkin et al., ICLR 2025), recipe of the ImageNet-1K table: the authors' log ends at
# top-1 80.49 (best 80.53) at 192 px, and the paper has 81.5 after vil_s_in1k_224_finetune.py.
#
#   torchrun --nproc-per-node 8 tools/train.py configs/imagenet/vil_s_in1k_192_e400.py \
#       --launcher pytorch
_base_ = [
    '../_base_/models/vil_classifier_s.py',
    '../_base_/datasets/imagenet_192.py',
    '../_base_/schedules/in1k_e400.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(img_size=192, drop_path_rate=0.05),
)
