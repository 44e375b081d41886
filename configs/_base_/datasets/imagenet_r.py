# ImageNet-R, evaluation only: 30,000 renditions (art, toys, ...) of 200 classes of ImageNet-1K;
# docs/datasets.md
_base_ = './imagenet_a.py'

val_dataloader = dict(dataset=dict(data_root='data/imagenet-r'))
test_dataloader = val_dataloader
