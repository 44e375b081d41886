# ViL-T (version 1) classifying by the mean of all tokens, ImageNet-1K at 192 px: 400 epochs, 8 GPUs
# x 128 images.
# Vision-LSTM (Alkin et al., arXiv:2406.04303v1), pooling study: top-1 75.4; the source leaves open
# whether before or after fine-tuning at 224 px.
#
#   torchrun --nproc-per-node 8 tools/train.py configs/poolings/vil_v1_t_in1k_192_avg.py \
#       --launcher pytorch
_base_ = [
    '../_base_/models/vil_v1_classifier_t.py',
    '../_base_/datasets/imagenet_192.py',
    '../_base_/schedules/in1k_e400_b1024.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(img_size=192, out_type='avg'),
)
train_dataloader = dict(batch_size=128)
