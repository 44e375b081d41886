"""Models as files: what is written agrees with the model, what cannot be written is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import vil_mm.export
from vil_mm.export import check_target, export, find_backend, wrap_model
from vil_mm.export.check import Difference, check_tolerance, compare, eager_run
from vil_mm.export.program import SUFFIXES
from vil_mm.mlstm.cost import Choice
from vil_mm.models import VisionLSTM
from vil_mm.models.inspection import count_channels

SHAPE = (16, 24)


def build(layers: int = 2, **options) -> nn.Module:
    """A model with nothing but a backbone, which makes two rows of three tokens of SHAPE."""
    torch.manual_seed(0)
    arch = {'embed_dims': 16, 'num_layers': layers}
    model = nn.Module()
    options = {'arch': arch, 'img_size': 16, 'patch_size': 8} | options
    model.backbone = VisionLSTM(**options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def outputs(path: Path, images: torch.Tensor) -> list[torch.Tensor]:
    session = pytest.importorskip('onnxruntime').InferenceSession(path)
    return [torch.from_numpy(x) for x in session.run(None, {'images': images.numpy()})]


def check_onnx(model: nn.Module, folder: Path, shape: tuple[int, int] = SHAPE) -> None:
    report = export(model, folder / 'a' / 'm.onnx', shape, part='backbone')
    assert report.path.is_file() and report.nodes > 50
    assert [x.name for x in report.differences] == [
        f'features_{index + 1}' for index in model.backbone.out_indices
    ]
    for size in (1, 4):
        images = torch.randn(size, 3, *shape)
        with torch.no_grad():
            wanted = model.backbone(images)
        for got, want in zip(outputs(report.path, images), wanted, strict=True):
            assert got.shape == want.shape
            assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_onnx_of_one_layer_gives_what_the_model_gives(tmp_path: Path) -> None:
    onnx = pytest.importorskip('onnx')
    check_onnx(build(layers=1), tmp_path)
    file = onnx.load(tmp_path / 'a' / 'm.onnx')
    assert [(x.domain, x.version) for x in file.opset_import] == [('', 20)]
    batch, *rest = file.graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_param and [x.dim_value for x in rest] == [3, *SHAPE]
    assert [x.key for x in file.metadata_props] == ['images']
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['m.onnx']


@pytest.mark.slow
@pytest.mark.parametrize(
    'options',
    [
        {'out_indices': (0, 1), 'layers': 4},
        {'mlstm_backend': 'chunkwise'},
        {'version': 1, 'traversal': 'alternating_quad', 'layers': 4},
        {'traversal': 'bidirectional_shared', 'out_type': 'bilateral_concat'},
    ],
    ids=['taps', 'chunkwise', 'v1 quad', 'pooled'],
)
def test_onnx_of_other_backbones(options: dict, tmp_path: Path) -> None:
    check_onnx(build(**options), tmp_path)


@pytest.mark.slow
def test_onnx_of_a_long_sequence(tmp_path: Path) -> None:
    """At 1024 tokens a CPU takes heads one by one, which a file of any batch size cannot."""
    check_onnx(build(mlstm_backend='chunkwise', img_size=256), tmp_path, (256, 256))


@pytest.mark.parametrize('length', [1, 5, 8])
def test_running_maximum_and_its_indices(length: int) -> None:
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    from vil_mm.export.cummax import onnx_cummax

    x = torch.randint(5, (2, 3, length), generator=torch.Generator().manual_seed(0)).float()
    x[0, 0, 0] = -torch.inf
    values, indices = onnx_cummax(x.numpy(), -1)  # run at once by onnxscript
    wanted = torch.cummax(x, -1)
    assert (np.asarray(getattr(values, 'value', values)) == wanted.values.numpy()).all()
    assert (np.asarray(getattr(indices, 'value', indices)) == wanted.indices.numpy()).all()
    with pytest.raises(ValueError, match='is not supported'):
        onnx_cummax(x.numpy(), 0)


def test_programs_take_batches_of_several_sizes(tmp_path: Path) -> None:
    model = build(layers=1)
    report = export(
        model, tmp_path / 'm.pt2', SHAPE, part='backbone', format='torch-export', tolerance=1e-6
    )
    loaded = torch.export.load(report.path).module()
    for size in (1, 2, 3, 7):
        images = torch.randn(size, 3, *SHAPE)
        with torch.no_grad():
            torch.testing.assert_close(loaded(images)[0], model.backbone(images)[0])


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch) -> None:
    """What is written stands in for a program here, and gives other numbers than the model."""
    model, written = build(layers=1), []

    def write(program, function, path: Path, format: str) -> int:
        written.append(path)
        path.write_text('a new file')
        return 1

    def run(path: Path):
        assert path.read_text() == 'a new file'
        return lambda images: [1.01 * model.backbone(images)[0].detach()]

    monkeypatch.setattr(vil_mm.export, 'export_program', lambda *args: None)
    monkeypatch.setattr(vil_mm.export, '_write', write)
    monkeypatch.setattr(vil_mm.export, 'program_run', run)
    (tmp_path / 'm.pt2').write_text('an older file')
    options = {'part': 'backbone', 'format': 'torch-export'}
    with pytest.raises(ValueError, match=r'differs from the model: features_1 by'):
        export(model, tmp_path / 'm.pt2', SHAPE, **options)
    assert written and [path.name for path in tmp_path.iterdir()] == ['m.pt2']
    assert (tmp_path / 'm.pt2').read_text() == 'an older file'
    export(model, tmp_path / 'm.pt2', SHAPE, tolerance=0.02, **options)
    assert (tmp_path / 'm.pt2').read_text() == 'a new file'


class Foreign(nn.Module):
    """A backbone with an mmpretrain-like embedding, and code of its own."""

    def __init__(self, code: Callable[[torch.Tensor], torch.Tensor], channels: int = 3) -> None:
        super().__init__()
        self.patch_embed = nn.Sequential(nn.Conv2d(channels, 4, 8, 8))
        self.code = code

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.code(self.patch_embed(images))


def windows(x: torch.Tensor) -> torch.Tensor:
    """Counts images as Swin does."""
    parts = x.reshape(-1, 3)
    return parts.view(int(parts.shape[0] / (8 / 1)), 4, 2, 3)


def bright(x: torch.Tensor) -> torch.Tensor:
    return x if x.sum() > 0 else -x


@pytest.mark.parametrize('format', ['onnx', 'torch-export'])
@pytest.mark.parametrize(
    ('code', 'reason'),
    [
        (windows, r'UserError: Constraints violated \(batch\)'),
        (bright, r'GuardOnDataDependentSymNode: .*\(.*test_program\.py, line \d+\)'),
    ],
)
def test_what_cannot_be_traced_is_told_in_one_line(
    code: Callable, reason: str, format: str, tmp_path: Path, capfd
) -> None:
    model = nn.Module()
    model.backbone = Foreign(code)
    path = tmp_path / f'm{SUFFIXES[format]}'
    path.write_text('an older file')
    with pytest.raises(
        ValueError, match=f'^torch.export cannot trace this model: {reason}'
    ) as told:
        export(model.eval(), path, SHAPE, part='backbone', format=format)
    assert '\n' not in str(told.value)
    assert [x.name for x in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == 'an older file' and capfd.readouterr() == ('', '')


def test_what_onnx_has_not_is_told_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip('onnxscript')
    model = nn.Module()
    model.backbone = Foreign(lambda x: x.cummax(1).values)
    message = r'PyTorch cannot convert .*: ValueError: cummax over axis 1 .*use torch-'
    with pytest.raises(ValueError, match=message) as told:
        export(model.eval(), tmp_path / 'm.onnx', SHAPE, part='backbone')
    assert '\n' not in str(told.value) and not list(tmp_path.iterdir())


def test_other_channels_and_backbones(tmp_path: Path) -> None:
    model = nn.Module()
    model.backbone = Foreign(torch.tanh, channels=5)
    path, options = tmp_path / 'm.pt2', {'part': 'backbone', 'format': 'torch-export'}
    (difference,) = export(model.eval(), path, SHAPE, **options).differences
    assert difference.name == 'features' and difference.shape == (4, 2, 3)
    assert torch.export.load(path).module()(torch.zeros(7, 5, *SHAPE))[0].shape == (7, 4, 2, 3)
    assert count_channels(build(in_channels=4).backbone) == 4 and count_channels(nn.Identity()) == 3


def test_differences_are_seen() -> None:
    function = wrap_model(build(), 'backbone', SHAPE)
    run = eager_run(function)
    (same,) = compare(run, function, SHAPE)
    assert same.largest == 0 and same.scale > 0 and same.shape == (16, 2, 3)
    (shifted,) = compare(lambda x: [y + 0.5 for y in run(x)], function, SHAPE)
    assert shifted.largest == pytest.approx(0.5, abs=1e-5)
    (broken,) = compare(lambda x: [y.where(y < 0, torch.nan) for y in run(x)], function, SHAPE)
    with pytest.raises(ValueError, match='by nan'):
        check_tolerance([broken], 1.0)
    with pytest.raises(ValueError, match='not'):
        compare(lambda x: [y[:1] for y in run(x)], function, SHAPE)
    check_tolerance([Difference('a', (1,), 0.1, 10.0)], 0.02)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'mlstm_backend': 'triton'}, 'Triton kernels'),
        ({'mlstm_backend': 'recurrent'}, 'token by token'),
    ],
)
def test_backends_that_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f'{message}.*mlstm_backend=auto'):
        wrap_model(build(**options), 'backbone', SHAPE)


def test_training_mode_sides_and_parts_are_refused() -> None:
    with pytest.raises(ValueError, match='training mode'):
        wrap_model(build().train(), 'backbone', SHAPE)
    with pytest.raises(ValueError, match='multiples of the patch size 8'):
        wrap_model(build(), 'backbone', (16, 20))
    with pytest.raises(ValueError, match="part 'neck' is unknown"):
        wrap_model(build(), 'neck', SHAPE)


@pytest.mark.parametrize('mode', ['slide', 'tiled'])
def test_windows_are_refused_but_one(mode: str) -> None:
    model = build()
    model.decode_head, model.data_preprocessor = nn.Identity(), nn.Identity()
    model.test_cfg = {'mode': mode, 'crop_size': (16, 16), 'stride': (8, 8)}
    with pytest.raises(ValueError, match=r'windows of .*the shape of one window, 16 16'):
        wrap_model(model, 'whole', SHAPE)
    assert wrap_model(model, 'whole', (16, 16)).output_names() == ['logits']
    model.test_cfg = {'mode': 'whole'}
    assert wrap_model(model, 'whole', SHAPE).output_names() == ['logits']


def test_detectors_are_refused_whole() -> None:
    model = build()
    model.bbox_head = nn.Identity()
    with pytest.raises(ValueError, match=r'a detector cannot be exported whole.*part=.backbone'):
        wrap_model(model, 'whole', SHAPE)


def test_form_in_the_file() -> None:
    assert find_backend(VisionLSTM('tiny'), (224, 224)) == Choice('parallel')
    assert find_backend(VisionLSTM('tiny'), (512, 512)).backend == 'chunkwise'
    assert find_backend(VisionLSTM('tiny', mlstm_backend='parallel'), (512, 512)) == Choice(
        'parallel'
    )
    assert find_backend(nn.Identity(), (224, 224)) is None


def test_target(tmp_path: Path) -> None:
    assert check_target('a.onnx', 'onnx') == Path('a.onnx')
    with pytest.raises(ValueError, match=r'a\.onnx.: expected the name of a file \*\.pt2'):
        check_target('a.onnx', 'torch-export')
    (tmp_path / 'a.onnx').mkdir()
    with pytest.raises(ValueError, match='expected the name of a file'):
        check_target(tmp_path / 'a.onnx', 'onnx')
