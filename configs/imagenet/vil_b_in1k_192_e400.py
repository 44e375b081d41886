# ViL-B (version 2), pre-training on ImageNet-1K at 192 px: 400 epochs, 8 GPUs x 256 images.
# Vision-LSTM (Alkin et al., ICLR 2025), recipe of the ImageNet-1K table: the authors' log ends at
# top-1 81.55 (best 81.55) at 192 px, and the paper has 82.4 after vil_b_in1k_224_finetune.py.
#
#   torchrun --nproc-per-node 8 tools/train.py configs/imagenet/vil_b_in1k_192_e400.py \
#       --launcher pytorch
_base_ = [
    '../_base_/models/vil_classifier_b.py',
    '../_base_/datasets/imagenet_192.py',
    '../_base_/schedules/in1k_e400.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    # activation checkpointing: the same result from much less memory
    backbone=dict(img_size=192, drop_path_rate=0.2, with_cp=True),
)
