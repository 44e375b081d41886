"""Times and memory of whole models: what is run, what a row says, what is drawn."""

from __future__ import annotations

import json
import weakref

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from vil_mm.measure import compare, model_speed, speed
from vil_mm.measure.compare import compare_models, plot_comparison, table
from vil_mm.measure.flops import count_flops
from vil_mm.measure.model_speed import Setting, format_row, measure_model
from vil_mm.measure.speed import environment, find_timer, peak_memory, take_turns, versions, write
from vil_mm.runs.build import build_model
from vil_mm.runs.reading import read_config


@pytest.fixture
def cfg(tiny_config) -> Config:
    return read_config(str(tiny_config))


def classifier(num_classes: int = 10, **backbone) -> Config:
    """Two layers of 16 channels, no optimizer."""
    arch = {'embed_dims': 16, 'num_layers': 2}
    backbone = {'type': 'VisionLSTM', 'arch': arch, 'out_type': 'avg', **backbone}
    head = {'type': 'LinearClsHead', 'num_classes': num_classes, 'in_channels': 16}
    model = {'type': 'ImageClassifier', 'backbone': backbone, 'head': head}
    return Config({'model': model, 'default_scope': 'mmpretrain'})


def test_prediction(cfg) -> None:
    seen = []
    row = measure_model(
        cfg,
        (64, 96),
        Setting(batch_size=2, repeat=3),
        progress=lambda *step: seen.append(step),
    )
    assert (row['height'], row['width'], seen) == (64, 96, [('calls', i, 3) for i in (1, 2, 3)])
    assert 0 < row['ms'] <= row['ms_p90']
    assert row['images_per_s'] == pytest.approx(2e3 / row['ms'])
    assert row['peak_MiB'] >= 4 * row['parameters'] * 1e6 / 2**20, 'weights are counted'
    assert row['GMAC'] > 0
    text = format_row(row, Setting(batch_size=2, repeat=3))
    assert 'prediction of 2 x 64 x 96 pixels, 3 calls' in text and 'resident set' in text


@pytest.mark.parametrize('kind', ['segmentor', 'classifier'])
def test_training_step_updates_weights(cfg, kind, monkeypatch) -> None:
    cfg, models = cfg if kind == 'segmentor' else classifier(), []
    load = model_speed.load_model
    monkeypatch.setattr(
        model_speed, 'load_model', lambda *args: models.append(load(*args)) or models[-1]
    )
    before = []
    training = model_speed._training
    monkeypatch.setattr(
        model_speed,
        '_training',
        lambda model, *args: (
            before.extend(p.clone() for p in model.parameters()) or training(model, *args)
        ),
    )
    row = measure_model(cfg, (64, 64), Setting(batch_size=2, repeat=1, train_step=True))
    changed = [not torch.equal(a, b) for a, b in zip(before, models[0].parameters(), strict=True)]
    assert sum(changed) > 0.8 * len(changed) and 'GMAC' not in row


def test_autocast_is_used(monkeypatch) -> None:
    seen = []
    head = build_model(classifier()).head
    monkeypatch.setattr(
        type(head), 'predict', lambda *_: seen.append(torch.is_autocast_enabled('cpu'))
    )
    measure_model(classifier(), (32, 32), Setting(repeat=1, amp='bfloat16'))
    assert seen and all(seen)


def test_checkpoint(tmp_path, monkeypatch) -> None:
    model, path = build_model(classifier()), tmp_path / 'own.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    measured = []
    monkeypatch.setattr(
        model_speed, '_peak', lambda call, model, device: measured.append(model) or 1.0
    )
    measure_model(classifier(), (32, 32), Setting(repeat=1), str(path))
    assert torch.equal(measured[0].head.fc.weight, model.head.fc.weight), 'these weights ran'
    with pytest.raises(ValueError, match='for 10 classes in the checkpoint, 7 in the model'):
        measure_model(classifier(7), (32, 32), Setting(repeat=1), str(path))
    with pytest.raises(FileNotFoundError, match='checkpoint not found: missing'):
        measure_model(classifier(), (32, 32), Setting(repeat=1), 'missing.pth')


def test_size_that_does_not_run() -> None:
    cfg = classifier()  # ViL pads what is smaller than a patch, this one does not
    cfg.model.backbone = {'type': 'VisionTransformer', 'arch': 'deit-tiny', 'img_size': 32}
    with pytest.raises(ValueError, match='the model does not run at 8 x 8: '):
        measure_model(cfg, (8, 8), Setting(repeat=1))


def test_channels_of_the_images() -> None:
    cfg = classifier(in_channels=5)
    row = measure_model(cfg, (32, 32), Setting(repeat=1))
    usual = count_flops(build_model(classifier()), (32, 32)).total
    assert 1e9 * row['GMAC'] - usual == pytest.approx(2 * 16**2 * 16 * 4)


def test_memory_of_the_timer_is_not_the_models(monkeypatch) -> None:
    """On a GPU it holds 256 MiB, by which it empties the cache."""

    class Timer:
        def __call__(self, call) -> float:
            call()
            return 1.0

    timers, alive = [], []

    def make(device: str) -> Timer:
        timer = Timer()
        timers.append(weakref.ref(timer))
        return timer

    monkeypatch.setattr(model_speed, 'find_timer', make)
    monkeypatch.setattr(model_speed, '_peak', lambda *_: alive.append(timers[0]()) or 1.0)
    row = measure_model(classifier(), (32, 32), Setting(repeat=2))
    assert alive == [None] and row['ms'] == 1e3


@pytest.mark.parametrize('missing', ['glibc', 'proc'])
def test_unknown_memory_is_said_to_be_unknown(missing, monkeypatch, tmp_path) -> None:
    if missing == 'glibc':
        monkeypatch.setattr(speed.ctypes, 'CDLL', lambda _: object())
    else:
        monkeypatch.setattr(speed, 'Path', lambda path: tmp_path / 'none' / path.strip('/'))
    assert peak_memory(lambda: None, 'cpu') is None
    setting = Setting(repeat=1)
    (row,) = rows = compare_models({'one': classifier()}, [32], setting)
    assert row['peak_MiB'] is None and row['ms'] > 0
    assert 'peak memory    unknown' in format_row(row, setting)
    assert list(table(rows))[1].split()[5] == '-'
    with Image.open(plot_comparison(rows, setting, tmp_path / 'c.png')) as picture:
        assert picture.size == (825, 690), 'one panel'


def test_a_failing_call_is_no_unknown_memory() -> None:
    def fail() -> None:
        raise OSError('of the call itself')

    with pytest.raises(OSError, match='of the call itself'):
        peak_memory(fail, 'cpu')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'batch_size': 0}, 'batch_size=0: expected 1'),
        ({'repeat': 0}, 'repeat=0: expected 1'),
        ({'amp': 'float16'}, "amp='float16': needs a GPU"),
    ],
)
def test_settings_out_of_range(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        Setting(**options).check()


def measured_by_heart(cfg: Config, shape: tuple[int, int], setting: Setting) -> dict:
    """What ``measure_model`` might say; a fine model is too large for 64 pixels."""
    if shape[0] == 64 and cfg.name == 'fine':
        raise RuntimeError('no\nmemory')
    ms = {'coarse': 1.0, 'fine': 4.0}[cfg.name] * shape[0]
    row = {'ms': ms, 'ms_p90': ms, 'images_per_s': 1e3 / ms, 'peak_MiB': ms, 'parameters': 1.0}
    return {**row, 'GMAC': ms}


def test_comparison(tmp_path, monkeypatch) -> None:
    """A size that fails is a row with its reason, and is left out of the picture."""
    monkeypatch.setattr(compare, 'measure_model', measured_by_heart)
    done = []
    configs = {name: Config({'name': name}) for name in ('coarse', 'fine')}
    rows = compare_models(configs, [32, 64], Setting(repeat=1), lambda *told: done.append(told))
    assert [(row['config'], row['side']) for row in rows] == [
        ('coarse', 32), ('coarse', 64), ('fine', 32), ('fine', 64),
    ]  # fmt: skip
    assert len(done) == 4 and rows[2]['GMAC'] > rows[0]['GMAC']
    assert rows[3] == {'config': 'fine', 'side': 64, 'reason': 'RuntimeError: no'}
    lines = list(table(rows))
    assert [line.split()[:2] for line in lines[1:]] == [
        ['coarse', '32'], ['fine', '32'], ['coarse', '64'], ['fine', '64'],
    ]  # fmt: skip
    assert lines[-1].endswith('RuntimeError: no')
    with Image.open(plot_comparison(rows, Setting(repeat=1), tmp_path / 'new/c.png')) as picture:
        assert picture.size == (1650, 690)
    with pytest.raises(ValueError, match='nothing was measured: RuntimeError: no'):
        plot_comparison(rows[3:], Setting(), tmp_path / 'd.png')


def test_rows_are_kept_with_the_machine(tmp_path) -> None:
    path = write(tmp_path / 'a' / 'rows.json', [{'ms': 1.0}, {'reason': 'x'}], environment('cpu'))
    kept = json.loads(path.read_text())
    assert kept['rows'][1] == {'reason': 'x'} and kept['machine']['torch'] == torch.__version__
    assert {'device', 'threads', 'commit', 'date', 'command'} <= kept['machine'].keys()
    assert path.with_suffix('.csv').read_text().startswith('ms,reason,device')
    assert versions()['python']


def test_memory_of_a_call_is_what_it_allocates() -> None:
    size = 32 * 2**20
    assert peak_memory(lambda: torch.ones(size // 4).sum(), 'cpu') == pytest.approx(32, abs=4)


def test_time_is_that_of_the_call() -> None:
    calls = []
    assert find_timer('cpu')(lambda: calls.append(1)) >= 0 and calls == [1]
    assert take_turns({'a': lambda: None}, 0, 'cpu')['a'] < 1e-3


@pytest.mark.parametrize('values', [(430.0, 1060.0), (29.0, 65.0), (100.0, 103.0), (7.0, 7.0)])
@pytest.mark.parametrize('factor', [1, 40, 2000])
def test_both_axes_have_numbers(tmp_path, monkeypatch, values, factor) -> None:
    figures = []
    monkeypatch.setattr(compare, 'save_figure', lambda figure, _: figures.append(figure))
    rows = [
        dict(config='a', side=side, ms=value, peak_MiB=value)
        for side, value in zip((64, 96), (values[0], factor * values[1]), strict=True)
    ]
    plot_comparison(rows, Setting(repeat=1), tmp_path / 'c.png')
    figures[0].canvas.draw()
    for axes in figures[0].axes:
        low, high = axes.get_ylim()
        shown = [
            label.get_text()
            for label, place in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
            if low <= place <= high and label.get_text()
        ]
        assert len(shown) >= 2, shown
        assert [label.get_text() for label in axes.get_xticklabels()] == ['64', '96']
