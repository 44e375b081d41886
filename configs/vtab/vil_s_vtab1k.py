# ViL-S (version 2), fine-tuning on one data set of VTAB-1K at 224 px: 50 epochs of 1000 images.
# docs/classification.md has the whole procedure, 5 learning rates and 5 seeds per data set.
# Vision-LSTM (Alkin et al., ICLR 2025), VTAB-1K table: mean over the 19 data sets 70.0 (natural
# 75.3, specialised 84.3, structured 58.3).
#
#   python tools/convert_checkpoint.py vil2_small16_e400_in1k.th \
#       checkpoints/vil2_small16_e400_in1k.pth
#   VTAB_DATASET=dtd python tools/train.py configs/vtab/vil_s_vtab1k.py \
#       --work-dir work_dirs/vtab1k/s_dtd
_base_ = [
    '../_base_/models/vil_classifier_s.py',
    '../_base_/schedules/vtab1k.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    head=dict(
        num_classes=_base_.num_classes,
        loss=dict(_delete_=True, type='CrossEntropyLoss'),
    ),
    train_cfg=None,  # nothing is mixed
)
load_from = 'checkpoints/vil2_small16_e400_in1k.pth'  # all but the head
