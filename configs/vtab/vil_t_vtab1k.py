# ViL-T (version 2), fine-tuning on one data set of VTAB-1K at 224 px: 50 epochs of 1000 images.
# docs/classification.md has the whole procedure, 5 learning rates and 5 seeds per data set.
# Vision-LSTM (Alkin et al., ICLR 2025), VTAB-1K table: mean over the 19 data sets 68.3 (natural
# 73.6, specialised 83.4, structured 56.1).
#
#   python tools/convert_checkpoint.py vil2_tiny16_e800_in1k.th \
#       checkpoints/vil2_tiny16_e800_in1k.pth
#   VTAB_DATASET=dtd python tools/train.py configs/vtab/vil_t_vtab1k.py \
#       --work-dir work_dirs/vtab1k/t_dtd
_base_ = [
    '../_base_/models/vil_classifier_t.py',
    '../_base_/schedules/vtab1k.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    head=dict(num_classes=_base_.num_classes, loss=dict(_delete_=True, type='CrossEntropyLoss')),
    train_cfg=None,  # nothing is mixed
)
load_from = 'checkpoints/vil2_tiny16_e800_in1k.pth'  # all but the head
