# UperNet on ViL-T, ADE20K, 512x512, 11M parameters.
# Vision-LSTM (Alkin et al., ICLR 2025), from ImageNet weights fine-tuned at 224: mIoU 41.2
# single-scale, 43.1 multi-scale. The published run is one GPU with all 16 images and --amp, float16
# with loss scaling; `--amp bfloat16` needs no scaling; without --amp everything is float32.
#
#   python tools/train.py configs/upernet_vil_t_512x512_ade20k.py --amp
#   python tools/test.py configs/upernet_vil_t_512x512_ade20k.py CHECKPOINT [--tta]
#
# The initial weights are a file of the authors' release (docs/checkpoints.md) in checkpoints/. From
# scratch: --cfg-options model.backbone.init_cfg=None
_base_ = [
    './_base_/models/upernet_vil_t.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/schedule_160k_layer_decay.py',
    './_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil2_tiny16_e800_in1k.th'),
    ),
)
