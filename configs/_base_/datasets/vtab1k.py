# One of the 19 data sets of VTAB-1K, 1000 training images each, squashed to 224x224, without
# augmentation; docs/datasets.md. Two environment variables choose:
#   VTAB_DATASET  which set, a key of the table below
#   VTAB_TRAIN    train800val200: train on all 1000 images, evaluate on the test images;
#                 train800: train on 800, evaluate on the other 200, to choose a learning rate
_base_ = '../loaders/classification.py'

dataset_name = '{{$VTAB_DATASET:caltech101}}'
train_list = '{{$VTAB_TRAIN:train800val200}}'

classes_of = dict(
    # natural
    cifar=100, caltech101=102, dtd=47, oxford_flowers102=102, oxford_iiit_pet=37, svhn=10,
    sun397=397,
    # specialised
    patch_camelyon=2, eurosat=10, resisc45=45, diabetic_retinopathy=5,
    # structured
    clevr_count=8, clevr_dist=6, dmlab=6, kitti=4, dsprites_loc=16, dsprites_ori=16,
    smallnorb_azi=18, smallnorb_ele=9,
)  # fmt: skip
evaluated_on = dict(train800val200='test', train800='val200')
if dataset_name not in classes_of:
    raise ValueError(f'VTAB_DATASET={dataset_name}: expected one of {", ".join(classes_of)}')
if train_list not in evaluated_on:
    raise ValueError(f'VTAB_TRAIN={train_list}: expected one of {", ".join(evaluated_on)}')

num_classes = classes_of[dataset_name]  # for the head: {{_base_.num_classes}}
data_root = f'data/vtab-1k/{dataset_name}'
data_preprocessor = dict(num_classes=num_classes)

test_pipeline = [
    dict(
        type='LoadImageFromFile',
        imdecode_backend='pillow',
        color_type='color_ignore_orientation',
    ),
    dict(type='Resize', scale=(224, 224), backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
train_pipeline = [dict(type='SeedAugmentation'), *test_pipeline]

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        ann_file=f'{train_list}.txt',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        ann_file=f'{evaluated_on[train_list]}.txt',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
