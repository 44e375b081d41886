# ViL-S (version 2), evaluation on ImageNet-1K.
# Vision-LSTM (Alkin et al., ICLR 2025), ImageNet-1K table: top-1 81.5.
#
#   python tools/convert_checkpoint.py vil2_small16_e400_in1k.th \
#       checkpoints/vil2_small16_e400_in1k.pth
#   python tools/test.py configs/imagenet/vil_s_in1k_eval.py checkpoints/vil2_small16_e400_in1k.pth
_base_ = [
    '../_base_/models/vil_classifier_s.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/default_runtime_cls.py',
]
train_dataloader = None
