"""From a command line to a config: what is set, and every error before anything heavy is done."""

from __future__ import annotations

import shutil
from pathlib import Path

import published
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from vil_mm import CONFIG_DIR
from vil_mm.checkpoints.reading import CheckpointError
from vil_mm.models import VisionLSTM
from vil_mm.runs.checks import CHECKPOINT_PAGE, DATA_PAGE, check_checkpoint, check_data
from vil_mm.runs.launch import prepare_testing, prepare_training
from vil_mm.runs.reading import read_config

ADE20K = str(CONFIG_DIR / 'upernet_vil_t_512x512_ade20k.py')


@pytest.fixture
def cfg(tiny_config: Path) -> Config:
    return read_config(str(tiny_config))


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A file that passes for a checkpoint until somebody compares its weights."""
    torch.save(dict(state_dict=dict(a=torch.ones(1))), tmp_path / 'weights.pth')
    return str(tmp_path / 'weights.pth')


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


# data


@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('damage', ['absent', 'empty'])
def test_missing_data(cfg, tmp_path, drawn_data, monkeypatch, split, damage):
    root = tmp_path / 'copy'
    shutil.copytree(drawn_data, root)
    folder = root / 'annotations' / {'train': 'training', 'val': 'validation'}[split]
    shutil.rmtree(folder)
    if damage == 'empty':
        folder.mkdir()
    for name in ('train', 'val'):
        cfg[f'{name}_dataloader'].dataset.data_root = str(root)
    monkeypatch.setattr('torch.load', None)  # nothing is opened
    cfg.load_from = 'nowhere.pth'  # and nothing is looked for before the data
    with pytest.raises(FileNotFoundError) as error:
        prepare_training(cfg)
    message = str(error.value)
    assert f'{split} data not found: {folder} is missing or empty' in message
    assert f'{folder}/' in message and f'{root}/images/{folder.name}/' in message
    assert '\n' not in message
    assert DATA_PAGE in message
    assert f'{split}_dataloader.dataset.data_root=' in message


@pytest.mark.parametrize('page', [DATA_PAGE, CHECKPOINT_PAGE])
def test_page_exists(page):
    assert (Path(__file__).resolve().parents[2] / page).is_file()


def test_the_published_option_for_another_place_works(cfg, drawn_data, tiny_config):
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = 'nowhere'
        with pytest.raises(FileNotFoundError, match=f'{split} data not found: nowhere/images'):
            check_data(cfg, split)
        cfg.merge_from_dict({f'{split}_dataloader.dataset.data_root': str(drawn_data)})
    check_data(cfg, 'train', 'val', 'test')


@pytest.mark.parametrize('wrapper', ['RepeatDataset', 'ConcatDataset', 'both'])
def test_wrapped_data_sets_are_looked_into(cfg, wrapper):
    good = cfg.train_dataloader.dataset
    bad = ConfigDict(good, data_root='nowhere')

    def wrap(dataset: ConfigDict) -> ConfigDict:
        if wrapper == 'RepeatDataset':
            return ConfigDict(type=wrapper, times=2, dataset=dataset)
        inner = dataset if wrapper == 'ConcatDataset' else ConfigDict(times=2, dataset=dataset)
        return ConfigDict(type='ConcatDataset', datasets=[good, inner])

    cfg.train_dataloader.dataset = wrap(good)
    check_data(cfg, 'train')
    cfg.train_dataloader.dataset = wrap(bad)
    with pytest.raises(FileNotFoundError, match='nowhere/images/training'):
        check_data(cfg, 'train')


@pytest.mark.parametrize('name', ['camvid', 'ade20k_mini'])
def test_configs_of_real_data_fit_the_folders(test_data, name):
    if not (test_data / name).is_dir():
        pytest.skip(f'no {name} in VIL_MM_TEST_DATA')
    config = dict(camvid='upernet_vil_t_camvid.py', ade20k_mini=ADE20K)[name]
    cfg = read_config(str(CONFIG_DIR / config))
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(test_data / name)
    check_data(cfg, 'train', 'val', 'test')


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


@pytest.mark.parametrize(
    ('cuda', 'amp', 'kind'),
    [
        (False, 'auto', 'AutocastOptimWrapper'),
        (False, 'bfloat16', 'AutocastOptimWrapper'),
        (True, 'bfloat16', 'AutocastOptimWrapper'),
        (True, 'auto', 'FiniteLossAmpOptimWrapper'),
        (True, 'float16', 'FiniteLossAmpOptimWrapper'),
    ],
)
def test_amp(cfg, monkeypatch, cuda, amp, kind):
    monkeypatch.setattr('torch.cuda.is_available', lambda: cuda)
    before = cfg.optim_wrapper.to_dict()
    prepare_training(cfg, amp=amp)
    after = cfg.optim_wrapper.to_dict()
    assert after.pop('type') == kind and before.pop('type') == 'FiniteLossOptimWrapper'
    scaling = dict(loss_scale='dynamic', dtype='float16') if 'Amp' in kind else {}
    assert after == before | scaling


def test_amp_refuses_another_wrapper(cfg):
    cfg.optim_wrapper.type = 'OptimWrapperDict'
    with pytest.raises(ValueError, match=r'amp=.*: supports .* not OptimWrapperDict'):
        prepare_training(cfg, amp='auto')


def test_resume_goes_on_from_the_work_dir_whatever_the_config_starts_from(cfg, tmp_path, weights):
    cfg.load_from = weights
    prepare_training(cfg, resume=True)
    assert cfg.load_from == weights and not cfg.resume, 'nothing to resume yet'
    assert ('RequireWeightsHook', '') not in hooks(cfg)

    last = str(tmp_path / 'work' / 'iter_2.pth')
    (tmp_path / 'work').mkdir()
    torch.save(dict(a=torch.ones(1)), last)
    (tmp_path / 'work' / 'last_checkpoint').write_text(last)
    prepare_training(cfg, resume=False)
    assert cfg.load_from == weights and not cfg.resume
    prepare_training(cfg, resume=True)
    assert cfg.load_from == last and cfg.resume
    others = [('SeedIterationHook', None), ('BatchSizeHook', None)]
    assert hooks(cfg) == [*others, ('RequireWeightsHook', '')]


def test_resume_says_when_the_last_checkpoint_is_gone(cfg, tmp_path):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'last_checkpoint').write_text('gone/iter_2.pth')
    with pytest.raises(FileNotFoundError, match=r'checkpoint not found: gone/iter_2\.pth'):
        prepare_training(cfg, resume=True)


def test_training_checks_the_checkpoint_to_start_from(cfg):
    cfg.load_from = 'nowhere.pth'
    with pytest.raises(FileNotFoundError, match=r'checkpoint not found: nowhere\.pth'):
        prepare_training(cfg)


# checkpoints


def test_checkpoints_that_pass(tmp_path):
    for zipped in (True, False):
        file = tmp_path / f'{zipped}.pth'
        torch.save(dict(a=torch.ones(2)), file, _use_new_zipfile_serialization=zipped)
        check_checkpoint(str(file))


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        ('missing', 'checkpoint not found'),
        ('a folder', 'checkpoint not found'),
        ('empty', r'checkpoint is empty \(0 bytes\)'),
        ('text', 'not a checkpoint'),
        ('cut off', 'not a checkpoint of tensors and plain containers, or cut off'),
    ],
)
def test_checkpoints_that_do_not(tmp_path, damage, message):
    file = tmp_path / 'w.pth'
    if damage == 'a folder':
        file.mkdir()
    elif damage != 'missing':
        torch.save(dict(a=torch.ones(1000)), file)
        whole = file.read_bytes()
        bad = {'empty': b'', 'text': b'<html>404</html>', 'cut off': whole[: len(whole) // 2]}
        file.write_bytes(bad[damage])
    with pytest.raises((FileNotFoundError, ValueError), match=message) as error:
        check_checkpoint(str(file))
    assert str(file) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.fixture(params=['raw', 'inference'])
def official(request, tmp_path: Path) -> str:
    raw = published.raw_weights(2, 16, 8, grid=(4, 4))
    weights = raw if request.param == 'raw' else published.inference_weights(raw, 2)
    return str(published.write_published(tmp_path / 'vil2.th', weights))


def test_official_weights_are_sent_to_the_converter(cfg, official):
    words = rf'{official} cannot be loaded.* python tools/convert_checkpoint\.py {official}'
    with pytest.raises(CheckpointError, match=words):
        check_checkpoint(official)
    with pytest.raises(CheckpointError, match=words):
        prepare_testing(cfg, official)
    cfg.load_from = official
    with pytest.raises(CheckpointError, match=words):
        prepare_training(cfg)


@pytest.mark.parametrize('part', ['model', 'model.decode_head', 'pretrained'])
def test_official_weights_of_a_whole_model_are_sent_to_the_converter(cfg, official, part):
    if part == 'pretrained':
        cfg.model.pretrained = official
    else:
        owner = cfg.model if part == 'model' else cfg.model.decode_head
        owner.init_cfg = dict(type='Pretrained', checkpoint=official)
    with pytest.raises(CheckpointError, match='convert_checkpoint'):
        prepare_training(cfg)


def test_official_weights_of_the_backbone_pass(cfg, official):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=official)
    before = cfg.to_dict()
    prepare_training(cfg)
    assert cfg.to_dict() == before


def test_an_address_is_refused():
    with pytest.raises(ValueError, match='download the file'):
        check_checkpoint('https://example.org/weights.pth')


def test_training_checks_the_weights_of_the_backbone(cfg):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    with pytest.raises(FileNotFoundError, match=r'checkpoint not found: nowhere\.pth') as error:
        prepare_training(cfg)
    message = str(error.value)
    assert '\n' not in message and f'{CHECKPOINT_PAGE} says where to get the authors' in message
    assert message.endswith('from scratch, set model.backbone.init_cfg=None')


def test_resuming_needs_no_weights_of_the_backbone(cfg, tmp_path):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    (tmp_path / 'work').mkdir()
    torch.save(dict(a=torch.ones(1)), tmp_path / 'work' / 'iter_2.pth')
    (tmp_path / 'work' / 'last_checkpoint').write_text(str(tmp_path / 'work' / 'iter_2.pth'))
    prepare_training(cfg, resume=True)
    assert cfg.model.backbone.init_cfg is None


@pytest.mark.parametrize('part', ['model', 'model.decode_head'])
def test_weights_that_nothing_would_check_are_refused(cfg, weights, part):
    owner = cfg.model if part == 'model' else cfg.model.decode_head
    owner.init_cfg = [dict(type='Pretrained', checkpoint=weights)]
    with pytest.raises(ValueError, match=rf'{part}\.init_cfg names weights.*load_from'):
        prepare_training(cfg)


def test_pretrained_of_a_model_is_an_init_cfg(cfg, weights):
    cfg.model.pretrained = weights
    with pytest.raises(ValueError, match=r'model\.init_cfg names weights.*load_from'):
        prepare_training(cfg)
    cfg.model.pretrained = None
    prepare_training(cfg)


def test_resume_in_the_config_is_the_option(cfg, weights, tmp_path):
    cfg.load_from, cfg.resume = weights, True
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'last_checkpoint').write_text('gone.pth')
    with pytest.raises(FileNotFoundError, match=r'gone\.pth'):
        prepare_training(cfg)


def test_data_prefix_may_be_a_string(cfg, tmp_path):
    cfg.train_dataloader.dataset.data_prefix = 'nothing/here'
    with pytest.raises(FileNotFoundError, match='nothing/here'):
        check_data(cfg, 'train')


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


def test_weights_in_pieces(cfg, tmp_path):
    """A strategy writes a folder and reads it again; evaluation needs one file."""
    folder = tmp_path / 'iter_2.pth'
    folder.mkdir()
    with pytest.raises(ValueError, match=r'is a folder.*zero_to_fp32'):
        prepare_testing(cfg, str(folder))
    cfg.load_from = str(folder)
    with pytest.raises(FileNotFoundError):
        prepare_training(cfg)
    cfg.runner_type = 'FlexibleRunner'
    prepare_training(cfg)
    assert cfg.load_from == str(folder)


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
