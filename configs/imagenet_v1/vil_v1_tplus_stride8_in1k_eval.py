# ViL-T+ (version 1) on 729 tokens, patches of 16 px every 8 px: evaluation on ImageNet-1K.
# Vision-LSTM (Alkin et al., arXiv:2406.04303v1), ImageNet-1K table: top-1 80.0. The authors' hub
# entry of this model names the file without stride 8; the name below is a guess.
#
#   python tools/convert_checkpoint.py vil_tinyplus16_e800_in1k_stride8.th \
#       checkpoints/vil_tinyplus16_e800_in1k_stride8.pth
#   python tools/test.py configs/imagenet_v1/vil_v1_tplus_stride8_in1k_eval.py \
#       checkpoints/vil_tinyplus16_e800_in1k_stride8.pth
_base_ = [
    '../_base_/models/vil_v1_classifier_t.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(arch='tiny+', stride=8),
)
train_dataloader = None
