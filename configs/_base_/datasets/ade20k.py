# ADE20K (SceneParsing): 20,210 training and 2,000 validation images, 150 classes; docs/datasets.md.
# Augmentation and evaluation are those of ViL's segmentation recipe; docs/segmentation.md.
#
# For crops of another size copy ade20k_640.py and set its `crop_size` and `resize_scale`. The
# windows of evaluation are the model's: model.test_cfg.
_base_ = '../loaders/segmentation.py'

dataset_type = 'ADE20KDataset'
data_root = 'data/ade/ADEChallengeData2016'
crop_size = (512, 512)
resize_scale = (2048, 512)
pixel_mean = [123.675, 116.28, 103.53]  # of the data preprocessor

# Pillow reads images and annotations as stored, without rotation by EXIF tags
load_image = dict(
    type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'
)
train_pipeline = [
    dict(type='SeedAugmentation'),
    load_image,
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=resize_scale,
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
        # Pillow's nearest neighbour takes the pixel at the centre, so labels stay aligned with the
        # image; cv2 takes the pixel to the upper left
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='mmpretrain.ColorJitter', brightness=0.5, contrast=0.5, saturation=0.5, hue=0.25),
    dict(type='CenteredPad', size=crop_size, mean=pixel_mean),
    dict(type='PackSegInputs'),
]

# Two ways to evaluate, selected by `tools/test.py --protocol`; validation uses the first.
# Annotations are loaded after Resize: predictions are compared at the original size.
protocols = dict(
    # As published: the image is squashed to one window, whatever its shape; with --tta, five sizes
    # of the original image, each also flipped, with summed logits. float32 before Resize avoids
    # rounding interpolated values.
    official=dict(
        test_pipeline=[
            dict(load_image, to_float32=True),
            dict(type='Resize', scale=crop_size, keep_ratio=False, interpolation='bicubic'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        tta_pipeline=[
            dict(load_image, to_float32=True),
            dict(
                type='TestTimeAug',
                transforms=[
                    [
                        dict(type='Resize', scale_factor=ratio, interpolation='bicubic')
                        for ratio in (0.75, 1.0, 1.25, 1.5, 1.75)
                    ],
                    [
                        dict(type='RandomFlip', prob=prob, direction='horizontal')
                        for prob in (0.0, 1.0)
                    ],
                    [dict(type='LoadAnnotations')],
                    [dict(type='PackSegInputs')],
                ],
            ),
        ],
        tta_model=dict(type='SumLogitsTTAModel'),
    ),
    # As in mmseg: the short side is resized, windows slide along the long one; with --tta, six
    # sizes of the original image, each also flipped, with averaged probabilities.
    community=dict(
        test_pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=resize_scale, keep_ratio=True),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        tta_pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='TestTimeAug',
                transforms=[
                    [
                        dict(type='Resize', scale_factor=ratio, keep_ratio=True)
                        for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
                    ],
                    [
                        dict(type='RandomFlip', prob=prob, direction='horizontal')
                        for prob in (0.0, 1.0)
                    ],
                    [dict(type='LoadAnnotations')],
                    [dict(type='PackSegInputs')],
                ],
            ),
        ],
        tta_model=dict(type='SegTTAModel'),
    ),
)
test_pipeline = protocols['official']['test_pipeline']

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
