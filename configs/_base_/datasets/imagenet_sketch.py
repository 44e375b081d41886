# ImageNet-Sketch, evaluation only: 50,889 sketches of the 1000 classes of ImageNet-1K;
# docs/datasets.md
_base_ = './imagenet_a.py'

val_dataloader = dict(dataset=dict(data_root='data/imagenet-sketch', num_folders=1000))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
