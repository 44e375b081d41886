from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from vil_mm.layers import (
    TRAVERSALS,
    HeadNorm,
    OffsetLayerNorm,
    PatchEmbedding,
    Scan,
    ViLBlock,
    ViLLayer,
    insert_middle,
    pool,
)
from vil_mm.layers.conv import CausalConv1d, TokenConv2d
from vil_mm.layers.drop_path import StochasticDepth
from vil_mm.layers.gates import gates
from vil_mm.layers.headwise import BlockDiagonalLinear
from vil_mm.layers.traversal import COLUMNS, COLUMNS_BACK, ROWS, ROWS_BACK


def test_block_diagonal_linear_is_a_dense_matrix_of_blocks() -> None:
    layer = BlockDiagonalLinear(24)
    torch.nn.init.normal_(layer.bias)
    assert layer.weight.shape == (6, 4, 4)
    x = torch.randn(2, 5, 24)
    dense = torch.block_diag(*layer.weight)
    torch.testing.assert_close(layer(x), F.linear(x, dense, layer.bias))
    with pytest.raises(ValueError, match='30 channels'):
        BlockDiagonalLinear(30)


@pytest.mark.parametrize('kind', [TokenConv2d, CausalConv1d])
def test_conv_in_reverse_is_the_conv_of_the_turned_grid(kind: type) -> None:
    conv = kind(6)
    x = torch.randn(2, 6, 3, 5)
    turned = conv(x.flip(2, 3)).flip(2, 3)
    torch.testing.assert_close(conv(x, reverse=True), turned)
    assert not torch.allclose(conv(x), turned)


@pytest.mark.parametrize('reverse', [False, True])
def test_causal_conv_sees_three_tokens_back_over_row_ends(reverse: bool) -> None:
    conv = CausalConv1d(4)
    x = torch.randn(1, 4, 3, 5, requires_grad=True)
    gradient = torch.autograd.grad(conv(x, reverse).flatten(2)[0, :, 6].sum(), x)[0]
    seen = gradient.flatten(2).abs().sum(1)[0].nonzero().flatten().tolist()
    assert seen == ([6, 7, 8, 9] if reverse else [3, 4, 5, 6])


def test_offset_layer_norm() -> None:
    norm = OffsetLayerNorm(8)
    x = torch.randn(3, 8)
    torch.testing.assert_close(norm(x), F.layer_norm(x, (8,)))
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    torch.testing.assert_close(norm(x), F.layer_norm(x, (8,)) * (1 + norm.weight) + norm.bias)


def test_head_norm_is_a_group_norm_of_every_token() -> None:
    norm = HeadNorm(4, 6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    h = torch.randn(2, 5, 4, 6)
    expected = F.group_norm(h.reshape(10, 24), 4, 1 + norm.weight, norm.bias).view(2, 5, 24)
    torch.testing.assert_close(norm(h), expected)


def test_patch_embedding_pads_at_bottom_and_right() -> None:
    embed = PatchEmbedding(3, 8, patch_size=4, stride=4)
    image = torch.randn(1, 3, 10, 13)
    grid = embed(image)
    assert grid.shape == (1, 3, 4, 8)
    torch.testing.assert_close(grid, embed(F.pad(image, (0, 3, 0, 2))))
    torch.testing.assert_close(grid[:, :2, :3], embed(image[..., :8, :12]))


def test_overlapping_patches() -> None:
    assert PatchEmbedding(3, 8, patch_size=16, stride=8)(torch.randn(1, 3, 224, 224)).shape == (
        1,
        27,
        27,
        8,
    )


def test_poolings() -> None:
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(pool(x, 'bilateral_concat'), torch.cat([x[:, 0], x[:, 4]], 1))
    torch.testing.assert_close(pool(x, 'bilateral_avg'), (x[:, 0] + x[:, 4]) / 2)
    torch.testing.assert_close(pool(x, 'avg'), x.mean(1))
    for kind, place in {'first': 0, 'last': 4, 'middle_patch': 2}.items():
        torch.testing.assert_close(pool(x, kind), x[:, place])
    assert pool(torch.arange(144.0).view(1, 144, 1), 'middle_patch').item() == 72


@pytest.mark.parametrize(('tokens', 'place'), [(1, 1), (4, 2), (5, 3)])
def test_a_token_in_the_middle_is_what_is_pooled(tokens: int, place: int) -> None:
    x, token = torch.randn(2, tokens, 3), torch.randn(1, 1, 3)
    longer = insert_middle(x, token)
    torch.testing.assert_close(longer[:, place], token[0].expand(2, 3))
    torch.testing.assert_close(torch.cat([longer[:, :place], longer[:, place + 1 :]], 1), x)
    torch.testing.assert_close(pool(longer, 'middle_cls'), token[0].expand(2, 3))


def test_pooling_that_is_not_known() -> None:
    x = torch.randn(2, 5, 3)
    with pytest.raises(ValueError, match="'max'"):
        pool(x, 'max')


class TestStochasticDepth:
    def test_evaluation_is_the_plain_residual(self) -> None:
        x = torch.randn(4, 3)
        torch.testing.assert_close(StochasticDepth(0.5).eval()(x, lambda y: 2 * y), 3 * x)

    @pytest.mark.parametrize(
        ('images', 'rate', 'kept'), [(20, 0.05, 19), (10, 0.2, 8), (100, 0.3, 70)]
    )
    def test_an_exact_number_of_images_is_kept_and_scaled(self, images, rate, kept) -> None:
        seen = []

        def branch(y: torch.Tensor) -> torch.Tensor:
            seen.append(len(y))
            return torch.ones_like(y)

        out = StochasticDepth(rate)(torch.zeros(images, 2), branch)
        assert seen == [kept]
        values, counts = out[:, 0].unique(return_counts=True)
        torch.testing.assert_close(values, torch.tensor([0.0, images / kept]))
        assert counts.tolist() == [images - kept, kept]

    def test_small_batches_draw_each_image_on_its_own(self) -> None:
        torch.manual_seed(0)
        drop = StochasticDepth(0.25)
        outs = torch.stack([drop(torch.zeros(2, 1), torch.ones_like) for _ in range(2000)])
        assert outs.unique().tolist() == pytest.approx([0, 1 / 0.75])
        assert outs.mean() == pytest.approx(1, abs=0.05)

    def test_gradients_reach_kept_and_dropped_images(self) -> None:
        x = torch.ones(10, 1, requires_grad=True)
        StochasticDepth(0.5)(x, lambda y: 3 * y).sum().backward()
        assert sorted(x.grad.flatten().tolist()) == [1.0] * 5 + [7.0] * 5

    def test_half_precision_branch_under_autocast(self) -> None:
        linear = torch.nn.Linear(4, 4)
        with torch.autocast('cpu', torch.bfloat16):
            out = StochasticDepth(0.5)(torch.randn(10, 4), linear)
        assert out.dtype == torch.float32

    @pytest.mark.parametrize('rate', [-0.1, 1.0])
    def test_rate_out_of_range(self, rate: float) -> None:
        with pytest.raises(ValueError, match='drop path rate'):
            StochasticDepth(rate)


class TestLayer:
    def test_initialisation(self) -> None:
        torch.manual_seed(0)
        dim = 192
        layer = ViLLayer(dim)
        std = math.sqrt(2 / (5 * dim))
        (scan,) = layer.scans
        for module in (layer.proj_up, scan.q_proj, scan.k_proj, scan.v_proj):
            assert module.weight.std().item() == pytest.approx(std, rel=0.06)
            assert module.bias.abs().max() == 0
        assert layer.proj_down.weight.std().item() == pytest.approx(2 / math.sqrt(dim), rel=0.02)
        assert layer.proj_down.bias.abs().max() == 0
        assert scan.conv.weight.abs().max().item() == pytest.approx(1 / 3, rel=0.02)
        assert scan.conv.bias.abs().max().item() == pytest.approx(1 / 3, rel=0.02)
        assert scan.igate.weight.abs().max() == scan.fgate.weight.abs().max() == 0
        assert 0 < scan.igate.bias.abs().max() < 0.5
        assert scan.fgate.bias.tolist() == [3, 4, 5, 6]
        assert (scan.skip == 1).all()
        for norm in (layer.norm, scan.head_norm):
            assert norm.weight.abs().max() == norm.bias.abs().max() == 0

    def test_reverse_is_the_layer_on_the_reversed_sequence(self) -> None:
        layer = ViLLayer(16).double()
        x = torch.randn(2, 12, 16, dtype=torch.float64)
        expected = layer(x.flip(1), (3, 4)).flip(1)
        layer.orders = (ROWS_BACK,)
        torch.testing.assert_close(layer(x, (3, 4)), expected)

    @pytest.mark.parametrize('bias', [True, False])
    def test_gates_are_linear_in_q_k_v_and_leave_autocast(self, bias: bool) -> None:
        scan = Scan(32, bias=bias).double()
        for linear in (scan.igate, scan.fgate):
            torch.nn.init.normal_(linear.weight)
        x = torch.randn(2, 3, 5, 32, dtype=torch.float64)
        parts = [linear(x) for linear in (scan.q_proj, scan.k_proj, scan.v_proj)]
        joined = torch.cat(parts, dim=-1)
        wanted = [F.linear(joined, gate.weight, gate.bias) for gate in (scan.igate, scan.fgate)]
        for got in (
            gates(scan.igate, scan.fgate, *parts),
            [scan.igate(*parts), scan.fgate(*parts)],
            [scan.igate(joined), scan.fgate(joined)],
        ):
            torch.testing.assert_close(list(got), wanted)
        scan.float()
        with torch.autocast('cpu', torch.bfloat16):
            parts = [linear(x.bfloat16()) for linear in (scan.q_proj, scan.k_proj, scan.v_proj)]
            half = gates(scan.igate, scan.fgate, *parts)
        assert {y.dtype for y in parts} == {torch.bfloat16}
        for got, want in zip(half, wanted, strict=True):
            torch.testing.assert_close(got, want.float(), rtol=0.05, atol=0.1)

    def test_gates_that_are_watched_are_called_and_give_the_same_bits(self) -> None:
        scan, q, k, v = Scan(32), *torch.randn(3, 2, 3, 5, 32)
        torch.nn.init.normal_(scan.igate.weight)
        together = gates(scan.igate, scan.fgate, q, k, v)
        seen = []
        scan.igate.register_forward_hook(lambda *hooked: seen.append(hooked[2]))
        for got, want in zip(gates(scan.igate, scan.fgate, q, k, v), together, strict=True):
            assert (got == want).all()
        assert len(seen) == 1

    @pytest.mark.parametrize('conv', ['conv2d', 'causal_conv1d'])
    def test_a_scan_by_columns_is_the_scan_of_the_transposed_grid(self, conv: str) -> None:
        scan = Scan(16, conv).double()
        x, z = torch.randn(2, 2, 3, 5, 16, dtype=torch.float64)
        for by_columns, by_rows in ((COLUMNS, ROWS), (COLUMNS_BACK, ROWS_BACK)):
            copies = (y.transpose(1, 2).contiguous() for y in (x, z))
            transposed = scan(*copies, by_rows).transpose(1, 2)
            torch.testing.assert_close(scan(x, z, by_columns), transposed)
            assert not torch.allclose(scan(x, z, by_rows), transposed)

    def test_only_convolution_and_gates_have_biases_without_biases(self) -> None:
        layer = ViLLayer(16, conv='causal_conv1d', bias=False)
        biases = {name for name, _ in layer.named_parameters() if name.endswith('bias')}
        assert biases == {f'scans.0.{name}.bias' for name in ('conv', 'igate', 'fgate')}

    @pytest.mark.parametrize('bias', [True, False])
    def test_trains_under_autocast(self, bias: bool) -> None:
        layer = ViLLayer(16, (ROWS, COLUMNS), bias=bias)
        x = torch.randn(2, 12, 16, requires_grad=True)
        with torch.autocast('cpu', torch.bfloat16):
            layer(x, (3, 4)).square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_traversals_go_on_over_the_layers() -> None:
    four = [TRAVERSALS['alternating_quad'].orders(layer)[0] for layer in range(5)]
    assert four == [ROWS, ROWS_BACK, COLUMNS, COLUMNS_BACK, ROWS]
    assert [TRAVERSALS['alternating'].orders(layer) for layer in (0, 1, 28)] == [
        (ROWS,),
        (ROWS_BACK,),
        (ROWS,),
    ]
    by_rows = {name for name, traversal in TRAVERSALS.items() if traversal.by_rows_only}
    assert by_rows == {'unidirectional', 'bidirectional', 'bidirectional_shared', 'alternating'}


def test_scans_of_a_layer_share_weights_or_have_their_own() -> None:
    assert len(ViLLayer(16, (ROWS, ROWS_BACK)).scans) == 2
    shared = ViLLayer(16, (ROWS, ROWS_BACK), shared=True).double()
    assert len(shared.scans) == 1
    own = ViLLayer(16, (ROWS, ROWS_BACK)).double()
    for scan in own.scans:
        scan.load_state_dict(shared.scans[0].state_dict())
    for name in ('proj_up', 'proj_down'):
        getattr(own, name).load_state_dict(getattr(shared, name).state_dict())
    x = torch.randn(2, 12, 16, dtype=torch.float64)
    torch.testing.assert_close(shared(x, (3, 4)), own(x, (3, 4)))


def test_block_is_the_same_with_activation_checkpointing() -> None:
    torch.manual_seed(0)
    layers = [ViLLayer(16, (order,), drop_path_rate=0.5) for order in (ROWS, ROWS_BACK)]
    block = ViLBlock(layers).double()
    x = torch.randn(6, 12, 16, dtype=torch.float64, requires_grad=True)
    results = []
    for block.with_cp in (False, True):
        torch.manual_seed(1)
        out = block(x, (3, 4))
        results.append((out, *torch.autograd.grad(out.sum(), [x, *block.parameters()])))
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(plain, recomputed)
