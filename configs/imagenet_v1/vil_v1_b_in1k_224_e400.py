# ViL-B (version 1), training on ImageNet-1K at 224 px: 400 epochs, 8 GPUs x 256 images.
# Vision-LSTM (Alkin et al., arXiv:2406.04303v1), ImageNet-1K table: top-1 81.6. Its appendix gives
# 16.6 A100-hours an epoch.
#
#   torchrun --nproc-per-node 8 tools/train.py configs/imagenet_v1/vil_v1_b_in1k_224_e400.py \
#       --launcher pytorch
_base_ = [
    '../_base_/models/vil_v1_classifier_b.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/in1k_e400.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    # activation checkpointing: the same result from much less memory
    backbone=dict(drop_path_rate=0.2, with_cp=True),
)
train_dataloader = dict(batch_size=256)
