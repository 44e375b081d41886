"""Hooks: what a checkpoint must hold, and what the random numbers of an iteration depend on."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace

import published
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS
from torch import Tensor, nn

from vil_mm.checkpoints.reading import CheckpointError
from vil_mm.engine.hooks import BatchSizeHook, RequireWeightsHook, SeedIterationHook
from vil_mm.models import VisionLSTM


class Model(nn.Module):
    def __init__(self, img_size: int = 32) -> None:
        super().__init__()
        self.backbone = VisionLSTM(arch=dict(embed_dims=16, num_layers=2), img_size=img_size)
        self.head = nn.Linear(16, 3)


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)


def runner_of(model: nn.Module) -> SimpleNamespace:
    """As much of a Runner as the hooks ask for."""
    logger = logging.getLogger('test_hooks')
    logger.setLevel(logging.INFO)
    return SimpleNamespace(model=model, logger=logger, _load_from='some/file.pth', seed=0, iter=0)


def check(model: nn.Module, state: dict[str, Tensor], prefix: str = 'backbone.') -> None:
    RequireWeightsHook(prefix).after_load_checkpoint(runner_of(model), dict(state_dict=state))


def without(state: dict[str, Tensor], *keys: str) -> dict[str, Tensor]:
    assert state.keys() >= set(keys)
    return {key: value for key, value in state.items() if key not in keys}


@pytest.fixture(scope='module')
def model() -> Model:
    return Model()


@pytest.fixture
def state(model: Model) -> dict[str, Tensor]:
    return dict(model.state_dict())


@pytest.mark.parametrize('prefix', ['backbone.', ''])
def test_everything_there(model, state, prefix, caplog):
    check(model, state, prefix)
    RequireWeightsHook(prefix).after_load_checkpoint(runner_of(model), state)  # no 'state_dict'
    check(model, {f'module.{key}': value for key, value in state.items()}, prefix)
    assert not caplog.records


def test_a_missing_weight_of_the_backbone_is_named(model, state):
    key = 'backbone.patch_embed.proj.weight'
    with pytest.raises(CheckpointError, match=rf'shape: 1 weights:\s+{key}') as error:
        check(model, without(state, key))
    first = str(error.value).splitlines()[0]
    assert re.match(r'some/file\.pth does not fit the model: 1 of \d+ weights are missing', first)


def test_missing_head_is_logged_or_refused(model, state, caplog):
    lacking = without(state, 'head.weight', 'head.bias')
    check(model, lacking)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert 'left as initialised: 2 weights' in record.message and 'head.bias' in record.message
    with pytest.raises(ValueError, match=r'2 weights:\s+head\.weight\s+head\.bias'):
        check(model, lacking, prefix='')


def test_unknown_weights_are_logged(model, state, caplog):
    check(model, state | {'ema.decay': torch.ones(1)}, prefix='')
    (record,) = caplog.records
    assert 'unknown to the model: 1 weights' in record.message and 'ema.decay' in record.message


@pytest.mark.parametrize('prefix', ['backbone.', ''])
def test_nothing_matches(model, prefix):
    with pytest.raises(ValueError, match=r'unknown to the model: 1 weights:\s+other'):
        check(model, dict(other=torch.ones(1)), prefix)
    with pytest.raises(ValueError, match='missing in the checkpoint'):
        check(Bare(), dict(other=torch.ones(1)), prefix)


def test_wrong_shape(model, state):
    key = next(key for key in state if key.startswith('backbone.blocks') and state[key].ndim == 2)
    bad = state | {key: state[key].new_zeros(3, 3)}
    with pytest.raises(ValueError, match=rf'another shape: 1 weights:\s+{key}'):
        check(model, bad)
    head = state | {'head.weight': torch.zeros(150, 16)}
    check(model, head)  # another number of classes
    with pytest.raises(CheckpointError, match=r'head\.weight'):
        check(model, head, prefix='')


def test_both_class_counts_are_named(model, state, caplog):
    counts = r'head\.weight is for 150 classes in the checkpoint, 3 in the model'
    head = state | {'head.weight': torch.zeros(150, 16), 'head.bias': torch.zeros(150)}
    check(model, head)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert re.search(
        rf'some/file\.pth, left as initialised \({counts}\): 2 weights', record.message
    )
    with pytest.raises(CheckpointError, match=rf'^some/file\.pth does not fit the model: {counts}'):
        check(model, head, prefix='')
    wider = state | {'head.weight': torch.zeros(150, 32)}  # differs in more than classes
    with pytest.raises(CheckpointError) as error:
        check(model, wider, prefix='')
    assert 'classes' not in str(error.value)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(version=1), 'holds ViL version 1 .* the model has ViL version 2'),
        (dict(arch=dict(embed_dims=32, num_layers=2)), r'32 channels, .*\(16 channels'),
        (dict(arch=dict(embed_dims=16, num_layers=5)), '5 layers, .* 2 layers'),
    ],
    ids=['version', 'width', 'depth'],
)
def test_another_backbone_is_described_in_the_first_line(model, options, words):
    options = {'arch': dict(embed_dims=16, num_layers=2), 'img_size': 32, **options}
    other = {f'backbone.{key}': x for key, x in VisionLSTM(**options).state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        check(model, other)
    first, *lists = str(error.value).splitlines()
    assert re.search(rf'^some/file\.pth does not fit the model: the file .*{words}', first)
    assert lists[0].startswith('missing in the checkpoint, or of another shape: ')


@pytest.mark.parametrize('layout', ['raw', 'inference'])
def test_official_weights_are_sent_to_the_converter(model, layout):
    weights = published.raw_weights(2, 16, 2)
    if layout == 'inference':
        weights = published.inference_weights(weights, 2)
    with pytest.raises(CheckpointError, match=r'^some/file\.pth .* tools/convert_checkpoint\.py'):
        check(model, weights)


def test_its_error_is_a_value_error_of_its_own():
    assert issubclass(CheckpointError, ValueError)


def test_position_embedding_of_another_grid(model):
    other = Model(img_size=64).state_dict()
    key = 'backbone.pos_embed.embed'
    assert other[key].shape != model.state_dict()[key].shape
    check(model, other, prefix='')
    Model().load_state_dict(other)  # which is why it may pass
    with pytest.raises(ValueError, match=key):
        check(model, other | {key: torch.zeros(1, 2, 2, 8)})


def test_long_lists_are_cut(model):
    with pytest.raises(ValueError) as error:
        check(model, dict(other=torch.ones(1)))
    needed = sum(key.startswith('backbone.') for key in model.state_dict())
    assert f'{needed} weights' in str(error.value) and f'and {needed - 20} more' in str(error.value)
    assert len(str(error.value).splitlines()) < 27


@pytest.mark.parametrize('loaded', [False, True])
@pytest.mark.parametrize('pretrained', [False, True])
def test_training_from_scratch_is_logged(model, state, caplog, loaded, pretrained):
    caplog.set_level(logging.INFO)
    model.backbone.init_cfg = dict(type='Pretrained', checkpoint='x') if pretrained else None
    hook, runner = RequireWeightsHook(), runner_of(model)
    if loaded:
        hook.after_load_checkpoint(runner, dict(state_dict=state))
    hook.before_train(runner)
    model.backbone.init_cfg = None
    said = [record.message for record in caplog.records if 'from scratch' in record.message]
    assert len(said) == (not loaded and not pretrained)


def test_random_numbers_depend_on_seed_rank_and_iteration_only(monkeypatch):
    def draw(seed: int, rank: int, iteration: int) -> tuple[float, ...]:
        monkeypatch.setattr('vil_mm.engine.hooks.get_rank', lambda: rank)
        runner = runner_of(Bare())
        runner.seed, runner.iter = seed, iteration
        SeedIterationHook().before_train_iter(runner, batch_idx=0)
        return tuple(torch.rand(4).tolist())

    first = draw(0, 0, 5)
    torch.rand(17)
    assert draw(0, 0, 5) == first
    places = [(0, 0, 5), (1, 0, 5), (0, 1, 5), (0, 0, 6), (5, 0, 0), (0, 5, 0)]
    assert len({draw(*place) for place in places}) == len(places)


def test_registered():
    assert isinstance(HOOKS.build(dict(type='SeedIterationHook')), SeedIterationHook)
    hook = HOOKS.build(dict(type='RequireWeightsHook'))
    assert hook.prefix == 'backbone.'


@pytest.mark.parametrize(
    ('batch', 'processes', 'steps', 'warns'),
    [(256, 8, 1, False), (128, 8, 2, False), (256, 4, 1, True), (256, 1, 1, True)],
)
def test_a_batch_that_is_not_the_recipes(monkeypatch, caplog, batch, processes, steps, warns):
    monkeypatch.setattr('vil_mm.engine.hooks.get_world_size', lambda: processes)
    runner = runner_of(nn.Identity())
    runner.optim_wrapper = SimpleNamespace(_accumulative_counts=steps)
    loader, scale = dict(batch_size=batch), dict(base_batch_size=2048, enable=False)
    runner.cfg = Config(dict(train_dataloader=loader, auto_scale_lr=scale))
    BatchSizeHook().before_train(runner)
    assert bool(caplog.records) == warns
    if warns:
        assert f'{batch * processes * steps} images' in caplog.text and '2048' in caplog.text
        assert f'train_dataloader.batch_size={2048 // processes}' in caplog.text
    runner.cfg.pop('auto_scale_lr')
    caplog.clear()
    BatchSizeHook().before_train(runner)
    assert not caplog.records


def test_no_batch_is_recommended_that_does_not_exist(monkeypatch, caplog):
    monkeypatch.setattr('vil_mm.engine.hooks.get_world_size', lambda: 32)
    runner = runner_of(nn.Identity())
    runner.optim_wrapper = SimpleNamespace()  # of DeepSpeed, which does not say how it accumulates
    scale = dict(base_batch_size=16, enable=False)
    runner.cfg = Config(dict(train_dataloader=dict(batch_size=1), auto_scale_lr=scale))
    BatchSizeHook().before_train(runner)
    assert '32 images' in caplog.text and 'batch_size=' not in caplog.text
    assert '--auto-scale-lr' in caplog.text
