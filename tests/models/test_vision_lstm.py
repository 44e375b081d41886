from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope, Registry
from recipe_tables import read_table
from tiny import TINY, build
from torch import nn

from vil_mm.layers import OffsetLayerNorm
from vil_mm.models import VisionLSTM

COUNTS = read_table(Path(__file__).with_name('parameter_counts.csv'))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


class TestStructure:
    @pytest.mark.parametrize('case', COUNTS.values(), ids=COUNTS)
    def test_published_parameter_counts(self, case: SimpleNamespace) -> None:
        """Of classifiers with a head of 1000 classes; of maps without the norm after pooling."""
        options = {
            key: value
            for key, value in vars(case).items()
            if key not in ('case', 'parameters') and value is not None
        }
        with torch.device('meta'):
            backbone = VisionLSTM(**options)
        widths = {'bilateral_concat': 2, 'featmap': 0}
        width = backbone.embed_dims * widths.get(backbone.out_type, 1)
        head = 1000 * (width + 1) if width else 0
        assert count(backbone) + head == case.parameters

    def test_norms_of_the_versions(self) -> None:
        for version, eps, pool_eps in ((1, 1e-5, 1e-6), (2, 1e-6, 1e-5)):
            model = build(version=version, out_type='bilateral_avg')
            assert (model.norm.eps, model.pool_norm.eps) == (eps, pool_eps)
            assert (model.norm.bias is None) == (version == 1)
            assert model.pool_norm.bias is not None

    def test_parameter_names(self) -> None:
        model = build(out_type='bilateral_concat')
        prefixes = {name.split('.')[0] for name, _ in model.named_parameters()}
        assert prefixes == {'patch_embed', 'pos_embed', 'blocks', 'norm', 'pool_norm'}
        assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}

    def test_odd_number_of_layers(self) -> None:
        model = VisionLSTM('tiny+')
        assert [len(block.layers) for block in model.blocks] == [2] * 14 + [1]

    def test_norms_are_made_only_where_used(self) -> None:
        assert isinstance(build().norm, OffsetLayerNorm)
        assert build().norm.eps == 1e-6
        assert build(out_type='avg').pool_norm.normalized_shape == (16,)
        assert build(out_type='bilateral_concat').pool_norm.normalized_shape == (32,)
        for options in ({'final_norm': False}, {'out_indices': 1}):
            model = build(out_type='avg', **options)
            assert isinstance(model.norm, nn.Identity)
            assert isinstance(model.pool_norm, nn.Identity)

    def test_drop_path_uniform_or_growing(self) -> None:
        def rates(model: VisionLSTM) -> list[float]:
            return [layer.drop_path.rate for block in model.blocks for layer in block.layers]

        assert rates(build(drop_path_rate=0.2)) == pytest.approx([0.2] * 8)
        growing = rates(build(drop_path_rate=0.7, drop_path_decay=True))
        assert growing == pytest.approx([i / 10 for i in range(8)])

    def test_initialisation(self) -> None:
        model = VisionLSTM('tiny', out_type='avg')
        bound = (6 / (192 + 768)) ** 0.5
        assert model.patch_embed.proj.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert model.patch_embed.proj.bias.abs().max() == 0
        assert model.norm.weight.abs().max() == 0
        assert (model.pool_norm.weight == 1).all()
        assert model.blocks[11].layers[1].scans[0].fgate.bias.tolist() == [3, 4, 5, 6]


class TestForward:
    def test_taps(self) -> None:
        model = build(out_indices=(0, 2, -1)).eval()
        image = torch.randn(2, 3, 32, 48)
        taps = model(image)
        assert [tap.shape for tap in taps] == [(2, 16, 4, 6)] * 3
        assert all(tap.is_contiguous() for tap in taps)
        alone = build(out_indices=2).eval()
        alone.load_state_dict(model.state_dict(), strict=False)
        torch.testing.assert_close(alone(image)[0], taps[1])

    def test_only_the_last_tap_is_normed(self) -> None:
        model = build(out_indices=(2, 3), out_type='raw').eval()
        unnormed = build(out_indices=(2, 3), out_type='raw', final_norm=False).eval()
        unnormed.load_state_dict(model.state_dict(), strict=False)
        torch.nn.init.normal_(model.norm.bias)
        image = torch.randn(1, 3, 32, 32)
        normed, plain = model(image), unnormed(image)
        torch.testing.assert_close(normed[0], plain[0])
        torch.testing.assert_close(normed[1], model.norm(plain[1]))

    def test_blocks_after_the_last_tap_are_not_run(self) -> None:
        model = build(out_indices=1)
        calls = []
        for index, block in enumerate(model.blocks):
            block.register_forward_hook(lambda *_, i=index: calls.append(i))
        model(torch.randn(1, 3, 32, 32))
        assert calls == [0, 1]

    def test_feature_map_is_the_raw_output_in_rows(self) -> None:
        image = torch.randn(2, 3, 24, 40)
        raw = build(out_type='raw').eval()(image)[0]
        featmap = build().eval()(image)[0]
        assert raw.shape == (2, 15, 16)
        torch.testing.assert_close(featmap, raw.transpose(1, 2).reshape(2, 16, 3, 5))

    @pytest.mark.parametrize(
        ('out_type', 'width'), [('bilateral_concat', 32), ('bilateral_avg', 16), ('avg', 16)]
    )
    def test_poolings(self, out_type: str, width: int) -> None:
        image = torch.randn(2, 3, 32, 32)
        raw = build(out_type='raw').eval()(image)[0]
        model = build(out_type=out_type).eval()
        pooled = model(image)[0]
        by_hand = {
            'bilateral_concat': torch.cat([raw[:, 0], raw[:, -1]], dim=1),
            'bilateral_avg': (raw[:, 0] + raw[:, -1]) / 2,
            'avg': raw.mean(1),
        }[out_type]
        assert pooled.shape == (2, width)
        torch.testing.assert_close(pooled, nn.functional.layer_norm(by_hand, (width,)))

    @pytest.mark.parametrize('size', [(32, 32), (64, 64), (24, 40), (8, 8), (16, 256)])
    def test_any_size_equals_a_model_made_for_it(self, size: tuple[int, int]) -> None:
        model = build().eval()
        made_for_it = build(img_size=size).eval()
        made_for_it.load_state_dict(model.state_dict())
        image = torch.randn(1, 3, *size)
        torch.testing.assert_close(model(image), made_for_it(image))

    def test_the_grid_is_no_state(self) -> None:
        """448 px through a 224 px model and back: same token counts as other shapes, no mix-up."""
        model = build().eval()
        wide, high = torch.randn(1, 3, 16, 64), torch.randn(1, 3, 64, 16)
        with torch.no_grad():
            first = model(wide)[0]
            model(high)
            torch.testing.assert_close(model(wide)[0], first)
        assert first.shape[2:] == (2, 8)

    def test_odd_sizes_are_padded(self) -> None:
        model = build().eval()
        image = torch.randn(1, 3, 30, 41)
        padded = nn.functional.pad(image, (0, 7, 0, 2))
        torch.testing.assert_close(model(image), model(padded))
        assert model(image)[0].shape == (1, 16, 4, 6)

    def test_overlapping_patches(self) -> None:
        model = build(stride=4).eval()
        assert model.pos_embed.embed.shape == (1, 4, 4, 16)
        assert model(torch.randn(1, 3, 32, 32))[0].shape == (1, 16, 7, 7)

    @pytest.mark.parametrize('backend', ['parallel', 'recurrent', 'chunkwise'])
    def test_backends_agree(self, backend: str) -> None:
        image = torch.randn(1, 3, 64, 64)
        expected = build().eval()(image)[0]
        got = build(mlstm_backend=backend).eval()(image)[0]
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        'options',
        [
            {},
            {'version': 1, 'traversal': 'quad', 'arch': dict(embed_dims=16, num_layers=2)},
            {'version': 1, 'out_type': 'middle_cls'},
        ],
        ids=['ViL', 'quad', 'class token'],
    )
    def test_compiles_to_one_graph_of_any_size(self, options: dict) -> None:
        model = build(**options).eval()
        compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
        for size in ((32, 32), (48, 64)):
            image = torch.randn(1, 3, *size)
            torch.testing.assert_close(compiled(image), model(image))

    def test_trains_every_parameter(self) -> None:
        model = build(drop_path_rate=0.3, out_type='avg')
        model(torch.randn(8, 3, 32, 48))[0].square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


class TestFreezing:
    @pytest.mark.parametrize('stages', [-1, 0, 2, 4])
    def test_frozen_stages(self, stages: int) -> None:
        model = build(frozen_stages=stages, drop_path_rate=0.5, out_type='avg').train()
        frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
        expected = []
        if stages >= 0:
            expected = ['patch_embed.', 'pos_embed.', *(f'blocks.{i}.' for i in range(stages))]
        if stages == 4:
            expected += ['norm.', 'pool_norm.']
        names = {n for n, _ in model.named_parameters() if n.startswith(tuple(expected))}
        assert frozen == names
        assert [block.training for block in model.blocks] == [i >= stages for i in range(4)]

    def test_class_token_is_an_embedding(self) -> None:
        for stages in (-1, 0):
            model = build(version=1, out_type='middle_cls', frozen_stages=stages)
            assert model.cls_token.requires_grad == (stages < 0)

    def test_train_returns_the_model(self) -> None:
        model = build()
        assert model.train() is model
        assert model.eval()(torch.randn(1, 3, 32, 32))


def test_activation_checkpointing_keeps_less_and_changes_nothing() -> None:
    image = torch.randn(2, 3, 64, 64)
    saved, gradients = [], []
    for with_cp in (False, True):
        model = build(with_cp=with_cp)
        kept = []

        def keep(tensor: torch.Tensor, kept=kept) -> torch.Tensor:
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = model(image)[0]
        out.square().sum().backward()
        saved.append(sum(kept))
        gradients.append([p.grad for p in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)
    assert saved[1] < saved[0] / 5


class TestLayerDepth:
    @pytest.mark.parametrize(
        ('name', 'depth'),
        [
            ('patch_embed.proj.weight', 0),
            ('pos_embed.embed', 0),
            ('cls_token', 0),
            ('blocks.0.layers.1.scans.0.skip', 1),
            ('blocks.11.layers.0.proj_up.weight', 12),
            ('norm.weight', 13),
        ],
    )
    def test_of_own_and_prefixed_names(self, name: str, depth: int) -> None:
        model = VisionLSTM('tiny')
        assert model.get_layer_depth(name) == (depth, 14)
        assert model.get_layer_depth(f'backbone.{name}', 'backbone.') == (depth, 14)

    def test_other_parameters_are_at_the_end(self) -> None:
        assert VisionLSTM('tiny').get_layer_depth('decode_head.x', 'backbone.') == (13, 14)


class TestRegistry:
    @pytest.mark.parametrize('scope', ['mmseg', 'mmpretrain'])
    def test_bare_name_in_scope(self, scope: str) -> None:
        registry = {
            'mmseg': lambda: __import__('mmseg.registry', fromlist=['MODELS']).MODELS,
            'mmpretrain': lambda: __import__('mmpretrain.registry', fromlist=['MODELS']).MODELS,
        }[scope]()
        with DefaultScope.overwrite_default_scope(scope):
            cfg = dict(type='VisionLSTM', arch=TINY)
            assert isinstance(registry.build(cfg), VisionLSTM)
            assert isinstance(MODELS.build(cfg), VisionLSTM)

    def test_bare_name_in_any_child_registry(self) -> None:
        child = Registry('model', scope='somewhere', parent=MODELS)
        assert isinstance(child.build(dict(type='VisionLSTM', arch=TINY)), VisionLSTM)

    def test_mmdet(self) -> None:
        mmdet = pytest.importorskip('mmdet', reason='mmdet is not installed ([det] extra)')
        assert mmdet
        from mmdet.registry import MODELS as MMDET_MODELS

        assert isinstance(MMDET_MODELS.build(dict(type='VisionLSTM', arch=TINY)), VisionLSTM)
