# ViL-T (version 2), fine-tuning on ImageNet-1K at 224 px: 20 epochs, 8 GPUs x 128 images. Starts
# from the last weights of vil_t_in1k_192_e400.py, head included; the position embedding is resized
# as they are loaded.
# Vision-LSTM (Alkin et al., ICLR 2025), ImageNet-1K table: top-1 77.2 (the authors' log: 77.248,
# best 77.312).
#
#   torchrun --nproc-per-node 8 tools/train.py configs/imagenet/vil_t_e400_in1k_224_finetune.py \
#       --launcher pytorch
_base_ = [
    '../_base_/models/vil_classifier_t.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/finetune_e20.py',
    '../_base_/default_runtime_cls.py',
]

load_from = 'work_dirs/vil_t_in1k_192_e400/iter_250000.pth'
