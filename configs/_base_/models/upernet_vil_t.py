# UperNet on ViL-T. The feature maps after blocks 4, 6, 8 and 12, all of one size, become a pyramid
# of 1/4, 1/8, 1/16 and 1/32 of the image; an auxiliary head reads its third level. Convolutions of
# both heads start from N(0, 0.02^2) and biases from 0, the pyramid from PyTorch's default; losses
# are means over the labelled pixels.
#
# BatchNorm uses the statistics of one process's images, as published (one GPU with all 16). On
# several GPUs, `--cfg-options sync_bn=torch` uses those of the whole batch: mmengine then converts
# every BatchNorm of the model when it wraps it. The option needs GPUs; a single process ignores it.
norm_cfg = dict(type='BN', requires_grad=True)
conv_cfg = dict(type='InitCfgConv2d')  # mmcv's ConvModule does not reinitialise these
head_init = dict(type='Normal', layer='Conv2d', mean=0.0, std=0.02, bias=0.0)

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='MultibandSegDataPreProcessor',  # mmseg's, for any number of channels
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(
        type='VisionLSTM',
        arch='tiny',
        img_size=512,
        out_indices=(3, 5, 7, 11),
        final_norm=False,
        drop_path_decay=True,
    ),
    neck=dict(type='Feature2Pyramid', embed_dim=192, rescales=[4, 2, 1, 0.5], norm_cfg=norm_cfg),
    decode_head=dict(
        type='UPerHead',
        in_channels=[192, 192, 192, 192],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=192,
        dropout_ratio=0.0,
        num_classes=150,
        conv_cfg=conv_cfg,
        norm_cfg=norm_cfg,
        init_cfg=head_init,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=192,
        in_index=2,
        channels=192,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
        conv_cfg=conv_cfg,
        norm_cfg=norm_cfg,
        init_cfg=head_init,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
