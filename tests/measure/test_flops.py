"""FLOP counts: the paper's figures, the operator's own counts, parts, forms, other backbones."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import vil_mm
from vil_mm.measure.flop_watch import CELL, CONV, GATES, PATCHES, PROJECTIONS, QKV
from vil_mm.measure.flops import Choice, count_flops, format_count
from vil_mm.mlstm.cost import choose_backend, flops
from vil_mm.mlstm.roofline import cell_passes, choose_triton_chunk
from vil_mm.runs.build import build_model
from vil_mm.zoo import find_config


def model_of(name: str, **backbone) -> nn.Module:
    cfg = Config.fromfile(find_config(name))
    cfg.model.backbone.update(backbone)
    with torch.device('meta'):
        return build_model(cfg, 'meta')


def tiny(device: str = 'meta', **backbone) -> nn.Module:
    """Two layers of 128 channels, as a classifier."""
    arch = {'_delete_': True, 'embed_dims': 128, 'num_layers': 2}
    cfg = Config.fromfile(find_config('vil_t_in1k_eval'))
    cfg.merge_from_dict({'model.backbone': {'arch': arch, **backbone}})
    cfg.model.head.in_channels = 256
    return build_model(cfg, device)


@pytest.mark.parametrize(
    ('size', 'published'),
    [
        pytest.param('t', 1.50, marks=pytest.mark.slow),  # the tool's test has it, too
        pytest.param('s', 5.09, marks=pytest.mark.slow),
        ('b', 18.5),
    ],
)
def test_paper(size: str, published: float) -> None:
    count = count_flops(model_of(f'vil_{size}_in1k_eval'), (224, 224))
    assert count.paper_total / 1e9 == pytest.approx(published, abs=10 ** -(2 if size != 'b' else 1))
    assert count.backend == Choice('parallel'), 'what 196 tokens run on a CPU'
    assert count.total > count.paper_total, 'both triangles, and stored zeros of q, k and v'


@pytest.mark.parametrize('side', [224, 800])
def test_cell_is_what_cost_says(side: int) -> None:
    count = count_flops(tiny(), (side, side))
    tokens = (side // 16) ** 2
    choice = choose_backend(tokens, 4, 64)
    assert count.backend == choice
    assert count.parts[CELL] == 2 * flops(choice, tokens, 4, 64) / 2
    assert count.backends[Choice('parallel')] == flops(Choice('parallel'), tokens, 4, 64)


def test_channels_of_the_images() -> None:
    count = count_flops(tiny(in_channels=5), (64, 64))
    assert count.parts[PATCHES] == 5 * 16**2 * 128 * 16


def test_parts_by_hand() -> None:
    """E = 256 inner channels, 16 tokens, two layers."""
    count = count_flops(tiny(), (64, 64))
    assert count.parts == {
        PATCHES: 3 * 16**2 * 128 * 16,
        PROJECTIONS: 2 * 6 * 128**2 * 16,
        CONV: 2 * 9 * 256 * 16,
        QKV: 2 * 3 * 16 * 256 * 16,  # blocks joined to 16 x 16
        GATES: 2 * 8 * 3 * 256 * 16,
        CELL: 2 * 2 * 16**2 * 256,
        'head': 256 * 1000,
    }
    assert count.paper[QKV] == count.parts[QKV] / 4
    assert count.paper[CELL] == count.parts[CELL] / 2
    assert count.not_counted == [] and count.auxiliary == 0


def test_agrees_with_torch_on_a_real_run() -> None:
    model = tiny('cpu')
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.randn(1, 3, 96, 64), mode='tensor')
    assert 2 * count_flops(model, (96, 64)).total == counter.get_total_flops()


@pytest.mark.parametrize(
    ('options', 'scans', 'taps'),
    [
        ({'version': 1, 'out_type': 'bilateral_concat'}, 2, 4),
        ({'traversal': 'alternating_quad'}, 2, 9),
        ({'traversal': 'quad'}, 8, 9),
        ({'traversal': 'bidirectional_shared'}, 4, 9),
    ],
)
def test_versions_and_traversals(options: dict, scans: int, taps: int) -> None:
    count = count_flops(tiny(**options), (64, 64))
    assert count.parts[CELL] == scans * 2 * 16**2 * 256
    assert count.parts[CONV] == count.paper[CONV] == scans * taps * 256 * 16
    assert count.parts[QKV] == scans * 3 * 16 * 256 * 16


def test_other_form_than_the_one_that_runs() -> None:
    model = tiny()
    auto, parallel = (count_flops(model, (800, 800), name) for name in ('auto', 'parallel'))
    assert auto.backend.backend == 'chunkwise' and parallel.backend.backend == 'parallel'
    assert parallel.total - auto.total == parallel.parts[CELL] - auto.parts[CELL]
    fused = count_flops(model, (800, 800), 'triton')
    chunk = choose_triton_chunk(2500, 4, 64)
    (cell,) = cell_passes(2500, 4, 64, chunk)
    assert fused.parts[CELL] == 2 * 2500 * cell.flops / 2
    assert fused.parts[QKV] == fused.paper[QKV], 'without stored zeros'


def test_backend_of_the_config_is_what_is_counted() -> None:
    count = count_flops(tiny(mlstm_backend='parallel'), (800, 800))
    assert count.backend == Choice('parallel')
    count = count_flops(tiny(mlstm_backend='triton'), (800, 800))
    assert count.backend.backend == 'chunkwise', 'what a CPU runs in its place'
    assert count.parts[CELL] == count.backends[count.backend]


def test_formulas_of_the_fused_operators() -> None:
    """FlopCounterMode sees them as well; their counts are those of --backend triton."""
    q = torch.zeros(1, 50, 50, 4, 64, device='meta')
    gates = torch.zeros(1, 50, 50, 4, device='meta')
    with FlopCounterMode(display=False) as counter:
        torch.ops.vil_mm.mlstm(q, q, q, gates, gates, False, 0, 1e-6, True)
    (cell,) = cell_passes(2500, 4, 64, choose_triton_chunk(2500, 4, 64))
    assert counter.get_total_flops() == 2500 * cell.flops
    x = torch.zeros(1, 3, 5, 64, device='meta')
    table, bias = x.new_zeros(9 + 1 + 3 * 4 + 3 + 16, 64), x.new_zeros(8)
    with FlopCounterMode(display=False) as counter:
        torch.ops.vil_mm.local_mix(x, table, bias, False)
    assert counter.get_total_flops() == 2 * 15 * 64 * (9 + 12 + 16)


def test_segmentor() -> None:
    model = model_of('upernet_vil_t_512x512_ade20k')
    count = count_flops(model, (512, 512))
    assert {'neck', 'decode head', PATCHES, CELL} <= count.parts.keys()
    assert not {'other', 'auxiliary head'} & count.parts.keys()
    # 3 x 3 from 192 to 192 channels, then 1 x 1 to 150 classes, at 1/16 of the image
    assert count.auxiliary == 32**2 * (9 * 192 * 192 + 192 * 150)
    text = format_count(count, (512, 512), 'cpu')
    assert 'chunkwise, 64 tokens per chunk' in text and 'auxiliary head, training' in text


def test_other_backbones() -> None:
    """DeiT-III-B: 12 d^2 a token and 2 S d of attention, 12 blocks, and the embedding."""
    model = model_of('upernet_deit3_b_512x512_ade20k')
    with pytest.raises(ValueError, match='does not run at 8 x 8'):
        count_flops(model, (8, 8))
    count = count_flops(model, (512, 512))
    tokens = 32**2 + 1
    expected = 12 * tokens * (12 * 768**2 + 2 * tokens * 768) + 32**2 * 768 * 768
    assert count.parts['backbone'] == expected
    assert count.backends == {} and count.backend is None and count.not_counted == []
    assert 'no mLSTM cell' in format_count(count, (512, 512), 'cpu')


def test_the_model_is_left_as_it_was() -> None:
    model = tiny('cpu')
    count_flops(model, (64, 64))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert next(model.parameters()).device.type == 'cpu'


def test_what_cannot_be_counted() -> None:
    with pytest.raises(ValueError, match='choose one of auto'):
        count_flops(tiny(), (64, 64), 'quick')
    with pytest.raises(ValueError, match='no model'):
        build_model(Config.fromfile(vil_mm.CONFIG_DIR / '_base_/datasets/ade20k.py'))
