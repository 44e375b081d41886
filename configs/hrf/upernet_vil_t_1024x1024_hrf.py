# UperNet on ViL-T, HRF (vessels of the retina, 2 classes), crops of 1024x1024 of images of
# 3504x2336, sliding windows. No such run has been made or published: no score is known.
#
#   python tools/train.py configs/hrf/upernet_vil_t_1024x1024_hrf.py --amp bfloat16
#   python tools/test.py configs/hrf/upernet_vil_t_1024x1024_hrf.py CHECKPOINT [--tiled]
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/. From
# scratch: --cfg-options model.backbone.init_cfg=None
_base_ = [
    '../_base_/models/upernet_vil_t.py',
    '../_base_/datasets/hrf.py',
    '../_base_/schedules/schedule_40k_layer_decay.py',
    '../_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        img_size=_base_.crop_size[0],
        with_cp=True,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil2_tiny16_e800_in1k.th'),
    ),
    decode_head=dict(num_classes=2),
    auxiliary_head=dict(num_classes=2),
    test_cfg=dict(crop_size=_base_.crop_size, stride=(683, 683)),
)
