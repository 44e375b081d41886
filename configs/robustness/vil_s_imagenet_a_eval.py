# ViL-S (version 2) on ImageNet-A, natural images that fool a ResNet-50: top-1 among the 200 classes
# of the set.
# Vision-LSTM (Alkin et al., ICLR 2025) has scores for this; they were not available here.
#
#   python tools/convert_checkpoint.py vil2_small16_e400_in1k.th \
#       checkpoints/vil2_small16_e400_in1k.pth
#   python tools/test.py configs/robustness/vil_s_imagenet_a_eval.py \
#       checkpoints/vil2_small16_e400_in1k.pth
_base_ = [
    '../_base_/models/vil_classifier_s.py',
    '../_base_/datasets/imagenet_a.py',
    '../_base_/default_runtime_cls.py',
]
