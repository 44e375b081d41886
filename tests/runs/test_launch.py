"""From a command line to a config: what is set, and every error before anything heavy is done."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from vil_mm import CONFIG_DIR
from vil_mm.models import VisionLSTM
from vil_mm.runs.launch import prepare_testing, prepare_training
from vil_mm.runs.reading import read_config

ADE20K = str(CONFIG_DIR / 'upernet_vil_t_512x512_ade20k.py')


def hooks(cfg: Config) -> list[tuple[str, str | None]]:
    return [(hook['type'], hook.get('prefix')) for hook in cfg.custom_hooks]


# read_config


def test_default_work_dir_has_the_name_of_the_config(tmp_path):
    cfg = read_config(ADE20K)
    assert cfg.work_dir == 'work_dirs/upernet_vil_t_512x512_ade20k'
    assert cfg.launcher == 'none'
    own = tmp_path / 'own.py'
    own.write_text("work_dir = 'mine'\n")
    assert read_config(str(own)).work_dir == 'mine'
    assert read_config(str(own), work_dir='yours').work_dir == 'yours'


def test_overrides(tiny_config):
    options = {
        'optim_wrapper.optimizer.lr': 0.25,
        'train_dataloader.dataset.data_root': 'there',
        'default_hooks.logger': dict(interval=7),
    }
    cfg = read_config(str(tiny_config), options=options, launcher='slurm')
    assert cfg.optim_wrapper.optimizer == dict(
        type='AdamW', lr=0.25, betas=(0.9, 0.999), weight_decay=0.05
    )
    assert cfg.train_dataloader.dataset.data_root == 'there'
    assert cfg.val_dataloader.dataset.data_root != 'there'
    assert cfg.default_hooks.logger.interval == 7
    assert cfg.default_hooks.logger.type == 'LoggerHook'
    assert cfg.launcher == 'slurm'


def test_missing_config():
    with pytest.raises(FileNotFoundError, match=r'config not found: configs/typo\.py'):
        read_config('configs/typo.py')


# training


def test_training_changes_nothing_unasked(cfg):
    before = cfg.to_dict()
    prepare_training(cfg)
    assert cfg.to_dict() == before


@pytest.mark.parametrize('option', ['no-validate', 'amp'])
def test_an_iteration_runs(cfg, option, monkeypatch):
    autocast, forward = [], VisionLSTM.forward

    def spy(self: VisionLSTM, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        autocast.append(torch.is_autocast_enabled(x.device.type))
        return forward(self, x)

    monkeypatch.setattr(VisionLSTM, 'forward', spy)
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    prepare_training(cfg, validate=option != 'no-validate', amp='auto' if option == 'amp' else None)
    runner = Runner.from_cfg(cfg)
    weight = runner.model.backbone.patch_embed.proj.weight
    before = weight.detach().clone()
    runner.train()
    assert runner.iter == 1 and not torch.equal(weight, before)
    assert autocast[0] == (option == 'amp')
    (scalars,) = Path(cfg.work_dir).glob('*/vis_data/scalars.json')
    assert ('mIoU' in scalars.read_text()) == (option != 'no-validate')


def test_no_validation(cfg):
    cfg.val_dataloader.dataset.data_root = 'nowhere'  # not needed
    prepare_training(cfg, validate=False)
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert 'save_best' not in cfg.default_hooks.checkpoint


def test_resume_goes_on_from_the_work_dir_whatever_the_config_starts_from(
    cfg, tmp_path, weights, resumable
):
    cfg.load_from = weights
    prepare_training(cfg, resume=True)
    assert cfg.load_from == weights and not cfg.resume, 'nothing to resume yet'
    assert ('RequireWeightsHook', '') not in hooks(cfg)

    last = str(tmp_path / 'work' / 'iter_2.pth')
    (tmp_path / 'work').mkdir()
    torch.save(resumable, last)
    (tmp_path / 'work' / 'last_checkpoint').write_text(last)
    with pytest.raises(ValueError, match=r'resume=False: .*work has checkpoints of an earlier run'):
        prepare_training(cfg, resume=False)
    prepare_training(cfg, resume=True)
    assert cfg.load_from == last and cfg.resume
    others = [('SeedIterationHook', None), ('BatchSizeHook', None)]
    assert hooks(cfg) == [*others, ('RequireWeightsHook', '')]


def test_resume_says_when_the_last_checkpoint_is_gone(cfg, tmp_path):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'last_checkpoint').write_text('gone/iter_2.pth')
    with pytest.raises(FileNotFoundError, match=r'checkpoint not found: .*work/iter_2\.pth'):
        prepare_training(cfg, resume=True)


def test_training_checks_the_checkpoint_to_start_from(cfg):
    cfg.load_from = 'nowhere.pth'
    with pytest.raises(FileNotFoundError, match=r'checkpoint not found: nowhere\.pth'):
        prepare_training(cfg)


# testing


def test_testing_loads_every_weight_from_the_checkpoint_alone(cfg, weights):
    cfg.resume, cfg.load_from = True, 'elsewhere.pth'
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    prepare_testing(cfg, weights)
    assert cfg.load_from == weights and cfg.resume is False
    assert cfg.model.backbone.init_cfg is None
    others = [('SeedIterationHook', None), ('BatchSizeHook', None)]
    assert hooks(cfg) == [*others, ('RequireWeightsHook', '')]
    assert 'output_dir' not in cfg.test_evaluator
    assert not cfg.default_hooks.visualization.get('draw')
    assert cfg.model.type == 'EncoderDecoder'


def test_testing_needs_only_test_data_and_a_checkpoint(cfg, weights):
    cfg.train_dataloader.dataset.data_root = cfg.val_dataloader.dataset.data_root = 'nowhere'
    prepare_testing(cfg, weights)
    with pytest.raises(FileNotFoundError, match='checkpoint not found'):
        prepare_testing(cfg, 'nowhere.pth')
    cfg.test_dataloader.dataset.data_root = 'nowhere'
    with pytest.raises(FileNotFoundError, match='test data not found'):
        prepare_testing(cfg, weights)


def test_where_results_go(cfg, weights):
    prepare_testing(cfg, weights, out='maps', show_dir='pictures')
    assert cfg.test_evaluator.output_dir == 'maps'
    drawn = cfg.default_hooks.visualization
    assert (drawn.type, drawn.out_dir, drawn.show) == ('PictureHook', 'pictures', False)


def test_tta(cfg, weights):
    with pytest.raises(ValueError, match='tta=True: the config has no tta_pipeline'):
        prepare_testing(cfg, weights, tta=True)
    model = cfg.model
    ways = [[dict(type='LoadAnnotations')], [dict(type='PackSegInputs')]]
    cfg.tta_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='TestTimeAug', transforms=ways),
    ]
    prepare_testing(cfg, weights, tta=True)
    assert cfg.test_dataloader.dataset.pipeline == cfg.tta_pipeline
    assert cfg.model == dict(type='SegTTAModel', module=model)


def test_tta_model_of_the_config(weights, drawn_data):
    cfg = read_config(ADE20K)
    cfg.test_dataloader.dataset.data_root = str(drawn_data)
    cfg.protocols.official.tta_model = dict(type='OwnTTAModel', weight=2)
    prepare_testing(cfg, weights, tta=True)
    assert cfg.model.type == 'OwnTTAModel' and cfg.model.weight == 2
    assert cfg.model.module.type == 'EncoderDecoder'
