# ViL-T (version 1), evaluation on ImageNet-1K.
# Vision-LSTM (Alkin et al., arXiv:2406.04303v1), ImageNet-1K table: top-1 77.3. The weights of 400
# epochs, vil_tiny16_e400_in1k.th, have 76.1.
#
#   python tools/convert_checkpoint.py vil_tiny16_e800_in1k.th checkpoints/vil_tiny16_e800_in1k.pth
#   python tools/test.py configs/imagenet_v1/vil_v1_t_in1k_eval.py \
#       checkpoints/vil_tiny16_e800_in1k.pth
_base_ = [
    '../_base_/models/vil_v1_classifier_t.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/default_runtime_cls.py',
]

train_dataloader = None
