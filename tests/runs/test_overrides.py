"""Overrides of a config: those that do something are merged, those that would not are refused."""

from __future__ import annotations

import re

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import DATASETS
from torch.optim import AdamW

from vil_mm.runs.option_names import RUN_KEYS, find_arguments
from vil_mm.runs.reading import read_config

DRAWN = 'upernet_vil_t_drawn'
ADE20K = 'upernet_vil_t_512x512_ade20k'


def refused(options: dict, name: str = DRAWN) -> str:
    with pytest.raises(ValueError, match='an override does not fit') as error:
        read_config(name, options=options)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('model.backbone.init_cfg', None),
        ('model.backbone.init_cfg', {'type': 'Pretrained', 'checkpoint': 'x'}),
        ('model.backbone.arch', {'embed_dims': 192, 'num_layers': 2}),
        ('model.backbone.with_cp', True),
        ('model.test_cfg.crop_size', (64, 64)),
        ('model.auxiliary_head', None),
        ('model.decode_head.loss_decode.class_weight', [1.0] * 8),
        ('model.decode_head.sampler', {'type': 'OHEMPixelSampler'}),
        ('model.data_preprocessor.batch_augments', None),
        ('default_hooks.visualization.draw', True),
        ('default_hooks.checkpoint.published_keys', ['a']),
        ('default_hooks.early', {'type': 'EarlyStoppingHook', 'monitor': 'mIoU'}),
        ('default_hooks.ema', {'type': 'EMAHook', 'momentum': 0.1}),  # of its **kwargs
        ('custom_hooks.0.priority', 'HIGH'),
        ('optim_wrapper.clip_grad.max_norm', 1),
        ('optim_wrapper.accumulative_counts', 2),
        ('optim_wrapper.loss_scale', 512),  # of --amp float16
        ('optim_wrapper.optimizer.foreach', False),
        ('optim_wrapper.paramwise_cfg.custom_keys.norm1.lr_mult', 2),
        ('env_cfg.dist_cfg.backend', 'gloo'),
        ('visualizer.alpha', 0.3),
        ('visualizer.vis_backends', [{'type': 'TensorboardVisBackend'}]),
        ('train_dataloader.pin_memory', True),
        ('train_dataloader.dataset.indices', 5),
        ('train_dataloader.dataset.metainfo.classes', ['a']),
        ('train_dataloader.collate_fn.type', 'pseudo_collate'),
        ('train_cfg.val_begin', 3),
        ('train_cfg', None),
        ('val_cfg.fp16', True),
        ('val_evaluator.collect_device', 'gpu'),
        ('param_scheduler.0.verbose', True),
        ('param_scheduler.0.convert_to_iter_based', True),
        ('log_to', ['wandb']),
        ('load_from', 'x.pth'),
        ('compile', True),
        ('tta_model', {'type': 'SegTTAModel'}),
        ('model_wrapper_cfg.type', 'MMDistributedDataParallel'),
        ('strategy', {'type': 'FSDPStrategy'}),
    ],
)
def test_what_is_read_is_merged(key: str, value: object) -> None:
    node = read_config(DRAWN, options={key: value})
    for part in key.split('.'):
        node = node[int(part)] if isinstance(node, list) else node[part]
    assert node == value


@pytest.mark.parametrize(
    ('key', 'meant'),
    [
        ('modle.backbone.arch', 'model.backbone.arch'),
        ('backbone.arch', 'model.backbone.arch'),
        ('model.bakcbone.arch', 'model.backbone.arch'),
        ('model.backbone.arhc', 'model.backbone.arch'),
        ('model.decode_head.num_clases', 'model.decode_head.num_classes'),
        ('model.test_cfg.crop_siz', 'model.test_cfg.crop_size'),
        ('model.data_preprocessor.mena', 'model.data_preprocessor.mean'),
        ('train_cfg.max_iter', 'train_cfg.max_iters'),
        ('train_dataloader.batchsize', 'train_dataloader.batch_size'),
        ('train_dataloader.dataset.data_rot', 'train_dataloader.dataset.data_root'),
        ('train_dataloader.sampler.sed', 'train_dataloader.sampler.seed'),
        ('optim_wrapper.acumulative_counts', 'optim_wrapper.accumulative_counts'),
        ('optim_wrapper.paramwise_cfg.norm_decay', 'optim_wrapper.paramwise_cfg.norm_decay_mult'),
        ('default_hooks.chekpoint.interval', 'default_hooks.checkpoint.interval'),
        ('default_hooks.checkpoint.intervall', 'default_hooks.checkpoint.interval'),
        ('val_evaluator.iou_metric', 'val_evaluator.iou_metrics'),
        ('visualizer.alhpa', 'visualizer.alpha'),
        ('randomness.sed', 'randomness.seed'),
        ('env_cfg.dist.backend', 'env_cfg.dist_cfg.backend'),
        ('log_processor.windowsize', 'log_processor.window_size'),
        ('resum', 'resume'),
        ('lr', 'optim_wrapper.optimizer.lr'),
        ('batch_size', 'train_dataloader.batch_size, val_dataloader.batch_size, '),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(key: str, meant: str) -> None:
    message = refused({key: 1})
    assert f'{key}: ' in message and f'did you mean {meant}' in message


def test_keys_in_a_dict_are_looked_at() -> None:
    message = refused({'model.backbone': {'arch': 'base', 'with_pc': True}})
    assert 'did you mean model.backbone.with_cp?' in message
    message = refused({'custom_hooks': [{'type': 'SeedIterationHook'}], 'model.backbone.x': 1})
    assert 'model.backbone (VisionLSTM) has no' in message and 'out_indices' in message


def test_a_type_counts_that_is_set_beside_its_options() -> None:
    options = {'optim_wrapper.optimizer.momentum': 0.9, 'optim_wrapper.optimizer.type': 'SGD'}
    assert read_config(DRAWN, options=options).optim_wrapper.optimizer.momentum == 0.9
    assert "AdamW) has no 'momentum'" in refused({'optim_wrapper.optimizer.momentum': 0.9})


def test_dicts_merge_into_dicts_and_replace_all_else() -> None:
    head = {'type': 'FCNHead', 'num_classes': 2}
    cfg = read_config(DRAWN, options={'model.decode_head': head})
    assert cfg.model.decode_head.channels == 64 and cfg.model.decode_head.type == 'FCNHead'
    cfg = read_config(DRAWN, options={'model.decode_head': {'_delete_': True, **head}})
    assert cfg.model.decode_head == head
    cfg = read_config(DRAWN, options={'model.init_cfg': {'_delete_': True}})
    assert cfg.model.init_cfg == {}
    cfg = read_config(DRAWN, options={'optim_wrapper.clip_grad': None})
    assert cfg.optim_wrapper.clip_grad is None
    options = {'model.backbone.arch': {'embed_dims': 16}, 'model.backbone.arch.num_layers': 2}
    cfg = read_config(DRAWN, options=options)
    assert cfg.model.backbone.arch == {'embed_dims': 16, 'num_layers': 2}
    cfg = read_config(DRAWN, options={'param_scheduler': {'type': 'ConstantLR', 'factor': 1.0}})
    assert cfg.param_scheduler == {'type': 'ConstantLR', 'factor': 1.0}
    cfg = read_config(DRAWN, options={'param_scheduler': {'0': {'begin': 1}}})
    assert len(cfg.param_scheduler) == 2 and cfg.param_scheduler[0].begin == 1


def test_a_way_that_ends() -> None:
    message = refused({'model.backbone.arch.num_layers': 2})
    assert 'model.backbone.arch="dict(num_layers=...)"' in message
    assert 'entries 0 to 1, so ' in refused({'param_scheduler.7.begin': 1})
    assert 'entries 0 to 1, so ' in refused({'param_scheduler.begin': 1})


@pytest.mark.parametrize(
    ('name', 'key', 'places'),
    [
        (DRAWN, 'train_pipeline', ['train_dataloader.dataset.pipeline']),
        (DRAWN, 'train_pipeline.3.scale', ['train_dataloader.dataset.pipeline.3.scale']),
        (DRAWN, 'crop_size', ['model.data_preprocessor.size', 'pipeline.4.crop_size']),
        (DRAWN, 'max_iters', ['train_cfg.max_iters']),
        (ADE20K, 'crop_size', ['model.test_cfg.crop_size', ' and 3 more']),
        ('vil_t_vtab1k', 'num_classes', ['model.head.num_classes', 'data_preprocessor.num_cl']),
        ('vil_t_vtab1k', 'batch_size', ['train_dataloader.batch_size']),
        ('upernet_vil_t_camvid', 'metainfo.classes', ['train_dataloader.dataset.metainfo.classes']),
    ],
)
def test_variables_of_a_file(name: str, key: str, places: list[str]) -> None:
    message = refused({key: 3}, name)
    assert 'is a variable of the config file' in message
    assert all(place in message for place in places), message


def test_variables_of_a_file_that_mmengine_wrote(tmp_path) -> None:
    """It has the same keys and no text that uses them."""
    path = tmp_path / 'dumped.py'
    read_config(DRAWN).dump(path)
    message = refused({'train_pipeline.3.scale': (1, 1)}, str(path))
    assert 'override train_dataloader.dataset.pipeline.3.scale' in message
    assert 'train_cfg.max_iters' in refused({'max_iters': 3}, str(path))
    cfg = read_config(path, options={'data_root': '/mine'})
    assert cfg.train_dataloader.dataset.data_root == '/mine'


def test_keys_of_ones_own_are_taken(tmp_path) -> None:
    """Code of a config's author may read them: they are in the file and used nowhere in it."""
    path = tmp_path / 'own.py'
    path.write_text('my_switch = dict(a=1)\nmy_number = 240\nmodel = dict(type="Mine", b=240)\n')
    cfg = read_config(path, options={'my_switch.b': 2, 'my_number': 3, 'model.anything': 4})
    assert cfg.my_switch == {'a': 1, 'b': 2} and cfg.my_number == 3 and cfg.model.anything == 4


def test_data_root_reaches_the_data() -> None:
    cfg = read_config(DRAWN, options={'data_root': '/mine/'})
    loaders = [cfg[f'{split}_dataloader'].dataset.data_root for split in ('train', 'val', 'test')]
    assert loaders == ['/mine'] * 3
    cfg = read_config('mask_rcnn_vil_t_3x_coco', options={'data_root': '/mine'})
    assert cfg.test_evaluator.ann_file == '/mine/annotations/instances_val2017.json'
    both = {'train_dataloader.dataset.data_root': '/a', 'data_root': '/b'}
    cfg = read_config(DRAWN, options=both)
    assert cfg.train_dataloader.dataset.data_root == '/a'
    assert cfg.val_dataloader.dataset.data_root == '/b'


def test_data_root_that_reaches_nothing(tmp_path, tiny_config) -> None:
    message = refused({'data_root': '/mine'}, str(tiny_config))  # its loaders have another one
    assert 'override train_dataloader.dataset.data_root, val_dataloader.' in message
    dump = tmp_path / 'dump.py'  # as a run leaves it: nothing in its text uses the variable
    cfg = Config.fromfile(tiny_config)
    cfg.data_root = 'elsewhere'
    cfg.dump(dump)
    assert 'train_dataloader.dataset.data_root' in refused({'data_root': '/x'}, str(dump))
    message = refused({'data_root': '/mine'}, 'vil_t_imagenet_c_eval')
    assert 'did you mean val_dataloader.dataset.data_root' in message


FAMILIES = [
    DRAWN, ADE20K, 'upernet_vil_t_1024x1024_hrf', 'segmenter_vil_t_512x512_ade20k',
    'upernet_swin_b_512x512_ade20k', 'upernet_vil_b_512x512_ade20k_fsdp', 'vil_t_in1k_192_e400',
    'vil_t_in1k_eval', 'vil_v1_t_in1k_224_e400', 'vil_t_vtab1k', 'mask_rcnn_vil_t_3x_coco',
]  # fmt: skip


@pytest.mark.parametrize('name', FAMILIES)
def test_every_key_of_a_config_is_known(name: str) -> None:
    """What stands in our configs may be set: leaf by leaf it passes as a new key would."""
    from vil_mm.runs.option_names import find_names, is_wrong

    cfg = read_config(name)
    wrong = []

    def look(node: object, path: list[str]) -> None:
        if isinstance(node, dict):
            names = find_names(cfg, path, node) if path else None
            for key, value in node.items():
                if path and is_wrong(str(key), names):
                    wrong.append('.'.join([*path, str(key)]))
                look(value, [*path, str(key)])
        elif isinstance(node, list | tuple):
            for i, value in enumerate(node):
                look(value, [*path, str(i)])

    for key in cfg:
        if key in RUN_KEYS:
            look(cfg[key], [key])
    assert not wrong


def test_names_of_options() -> None:
    assert {'lr', 'betas', 'fused'} < find_arguments(AdamW).known
    assert not find_arguments(AdamW).open
    names = find_arguments(CheckpointHook)
    assert names.open and 'interval' in names.known
    names = find_arguments(DATASETS.get('DrawnDataset'))
    assert not names.open and {'img_suffix', 'data_root', 'serialize_data'} < names.known

    class Lost:
        def __init__(self, a, **rest):
            self.a = a

    class Kept(Lost):
        def __init__(self, b, **rest):
            self.rest = rest
            super().__init__(1)

    assert find_arguments(Lost).known == {'a'} and not find_arguments(Lost).open
    assert find_arguments(Kept).open


def test_a_config_by_name_or_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / DRAWN).mkdir()  # as in a folder of work dirs
    assert read_config(DRAWN).work_dir == f'work_dirs/{DRAWN}'
    assert isinstance(read_config(DRAWN.upper()), Config)
    with pytest.raises(ValueError, match=re.escape(f'did you mean {DRAWN}')):
        read_config('upernet_vil_t_drwn')
