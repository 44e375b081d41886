# ViL-T (version 2) on ImageNet-C, mean top-1 over 19 corruptions of the validation images at 5
# strengths.
# Vision-LSTM (Alkin et al., ICLR 2025) has scores for this; they were not available here.
#
#   python tools/convert_checkpoint.py vil2_tiny16_e800_in1k.th \
#       checkpoints/vil2_tiny16_e800_in1k.pth
#   python tools/test.py configs/robustness/vil_t_imagenet_c_eval.py \
#       checkpoints/vil2_tiny16_e800_in1k.pth
_base_ = [
    '../_base_/models/vil_classifier_t.py',
    '../_base_/datasets/imagenet_c.py',
    '../_base_/default_runtime_cls.py',
]
