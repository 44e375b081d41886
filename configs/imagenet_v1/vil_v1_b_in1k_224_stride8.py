# ViL-B (version 1) on 729 tokens: patches of 16 px every 8 px, fine-tuning on ImageNet-1K at 224
# px: 30 epochs, 8 GPUs x 128 images. Starts from the last weights of vil_v1_b_in1k_224_e400.py.
# Vision-LSTM (Alkin et al., arXiv:2406.04303v1), ImageNet-1K table: top-1 82.7.
#
#   torchrun --nproc-per-node 8 tools/train.py configs/imagenet_v1/vil_v1_b_in1k_224_stride8.py \
#       --launcher pytorch
_base_ = [
    '../_base_/models/vil_v1_classifier_b.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/finetune_e30.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    # activation checkpointing: the same result from much less memory
    backbone=dict(stride=8, drop_path_rate=0.2, with_cp=True),
)
load_from = 'work_dirs/vil_v1_b_in1k_224_e400/iter_250000.pth'
