"""Every submodule is called: what hooks, wraps, prunes or replaces it has an effect."""

from __future__ import annotations

import copy
import logging
import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import vil_mm.layers.fused.scan as fused_scan
from vil_mm.layers import TRAVERSALS, Scan
from vil_mm.layers.traversal import COLUMNS_BACK, ROWS, ROWS_BACK
from vil_mm.mlstm.triton.runtime import INTERPRETED
from vil_mm.models import VisionLSTM

PROJECTIONS = ('q_proj', 'k_proj', 'v_proj', 'proj_up', 'proj_down')
MAPS = (*PROJECTIONS, 'conv', 'igate', 'fgate')
OPTIONS = {
    'arch': {'embed_dims': 16, 'num_layers': 4},
    'img_size': 32,
    'patch_size': 8,
    'out_type': 'bilateral_concat',
}


def build(**options) -> VisionLSTM:
    torch.manual_seed(0)
    model = VisionLSTM(**OPTIONS | options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def image() -> Tensor:
    return torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(1))


def named(model: nn.Module, *names: str) -> list[nn.Module]:
    return [x for name, x in model.named_modules() if name.rsplit('.')[-1] in names]


@pytest.mark.parametrize('traversal', TRAVERSALS)
@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('grad', [True, False], ids=['grad', 'no grad'])
def test_hooks_fire_and_what_they_keep_is_not_overwritten(
    version: int, traversal: str, grad: bool
) -> None:
    model = build(version=version, traversal=traversal)
    containers = (nn.ModuleList,)
    names = {n: x for n, x in model.named_modules() if not isinstance(x, containers)}
    with torch.set_grad_enabled(grad):
        wanted = model(image())[0]
        kept, copies = {}, {}

        def keep(name: str):
            def hook(module, inputs, output) -> None:
                tensors = [x for x in (*inputs, output) if isinstance(x, Tensor)]
                kept[name], copies[name] = tensors, [x.clone() for x in tensors]

            return hook

        for name, module in names.items():
            module.register_forward_hook(keep(name))
        got = model(image())[0]
    assert (got == wanted).all()
    assert kept.keys() == names.keys()
    for name in kept:
        for now, then in zip(kept[name], copies[name], strict=True):
            assert (now == then).all(), name


def test_full_backward_hooks_fire() -> None:
    model, seen = build(), set()
    names = {n: x for n, x in model.named_modules() if any(True for _ in x.parameters(False))}
    for name, module in names.items():
        module.register_full_backward_hook(lambda *_, name=name: seen.add(name))
    model(image())[0].square().sum().backward()
    assert seen == names.keys()


def check_adapters(model: nn.Module, plain: Tensor, forward) -> None:
    """They change nothing at first; after a step, which reaches each of them, they do."""
    torch.testing.assert_close(forward(model), plain)
    adapters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(adapters) == 2 * 5 * OPTIONS['arch']['num_layers']
    assert all('lora' in name for name in adapters)
    optimizer = torch.optim.SGD(adapters.values(), lr=0.1)
    for _ in range(2):  # those from the inputs wait for those to the outputs to leave zero
        optimizer.zero_grad()
        forward(model).square().sum().backward()
        optimizer.step()
    for name, p in adapters.items():
        assert p.grad is not None and p.grad.abs().max() > 0, name
    assert not torch.allclose(forward(model), plain)


def test_lora_of_mmpretrain() -> None:
    from mmpretrain.models.peft import LoRAModel

    torch.manual_seed(0)
    module = dict(type='VisionLSTM', **copy.deepcopy(OPTIONS))
    targets = [dict(type=f'.*{name}') for name in PROJECTIONS]
    model = LoRAModel(module, alpha=4, rank=2, targets=targets).eval()
    state = {
        name.replace('.original_layer', ''): x for name, x in model.module.state_dict().items()
    }
    plain = build()
    plain.load_state_dict({name: x for name, x in state.items() if '.lora_' not in name})
    check_adapters(model, plain(image())[0], lambda model: model(image())[0])


def test_lora_of_peft() -> None:
    peft = pytest.importorskip('peft')
    model = build()
    plain = model(image())[0].detach()
    config = peft.LoraConfig(r=2, target_modules=list(PROJECTIONS), init_lora_weights=True)
    check_adapters(
        peft.get_peft_model(model, config).eval(), plain, lambda model: model(image())[0]
    )


@pytest.mark.parametrize('names', [*MAPS, 'head_norm'])
def test_magnitude_pruning(names: str) -> None:
    model = build()
    plain = model(image())[0]
    for module in named(model, names):
        prune.l1_unstructured(module, 'weight', amount=0.5)
    pruned = model(image())[0]
    assert not torch.allclose(pruned, plain)
    pruned.square().sum().backward()
    for module in named(model, names):
        assert module.weight_orig.grad.abs().max() > 0
        prune.remove(module, 'weight')
    torch.testing.assert_close(model(image())[0], pruned)


NORMS = {
    'weight_norm': parametrizations.weight_norm,
    'spectral_norm': parametrizations.spectral_norm,
    'hook of weight_norm': torch.nn.utils.weight_norm,
    'hook of spectral_norm': torch.nn.utils.spectral_norm,
}


@pytest.mark.filterwarnings('ignore:.*weight_norm.*:FutureWarning')
@pytest.mark.parametrize('kind', NORMS)
def test_reparametrized_weights_are_used(kind: str) -> None:
    model = build()
    plain = model(image())[0]
    for module in named(model, *MAPS):
        NORMS[kind](module)
    normed = model(image())[0]
    if 'weight_norm' in kind:
        torch.testing.assert_close(normed, plain)
    else:
        assert not torch.allclose(normed, plain)
    normed.square().sum().backward()
    assert all(p.grad is not None for module in named(model, *MAPS) for p in module.parameters())


def test_a_parametrized_skip_is_used() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 2

    model, halved = build(), build()
    for scan in [x for x in model.modules() if isinstance(x, Scan)]:
        parametrize.register_parametrization(scan, 'skip', Half())
    with torch.no_grad():
        for name, p in halved.named_parameters():
            if name.endswith('.skip'):
                p.div_(2)
    torch.testing.assert_close(model(image())[0], halved(image())[0])


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_dynamic_quantization_of_linear_layers() -> None:
    model = build(arch={'embed_dims': 64, 'num_layers': 4})
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    found = [name for name, x in quantized.named_modules() if 'quantized' in type(x).__module__]
    assert {re.sub(r'.*\.', '', name) for name in found} >= {'proj_up', 'proj_down'}
    with torch.no_grad():
        got, want = quantized(image())[0], model(image())[0]
    assert 0 < (got - want).norm() < 0.2 * want.norm()


class Depthwise(nn.Conv2d):
    """A convolution that knows nothing of directions."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels)


@pytest.mark.parametrize('order', [ROWS, ROWS_BACK, COLUMNS_BACK])
def test_conv_may_be_another_module(order) -> None:
    torch.manual_seed(0)
    scan = Scan(16)
    x, z = torch.randn(2, 2, 3, 5, 16)
    wanted = scan(x, z, order)
    replaced = copy.deepcopy(scan)
    replaced.conv = Depthwise(16)
    assert not torch.allclose(replaced(x, z, order), wanted)
    replaced.conv.load_state_dict(scan.conv.state_dict())
    torch.testing.assert_close(replaced(x, z, order), wanted)
    replaced.conv = nn.Sequential(copy.deepcopy(scan.conv), nn.Identity())
    torch.testing.assert_close(replaced(x, z, order), wanted)
    replaced.conv = nn.Identity()
    assert replaced(x, z, order).shape == x.shape


ALTERATIONS = {
    'has forward hooks': lambda x: x.register_forward_hook(lambda *_: None) and x,
    'has backward hooks': lambda x: x.register_full_backward_hook(lambda *_: None) and x,
    'is a Sequential': nn.Sequential,
    'is a Parametrized': lambda x: parametrizations.weight_norm(x),
    'has its own forward': lambda x: setattr(x, 'forward', type(x).forward.__get__(x)) or x,
}


@pytest.mark.skipif(not INTERPRETED, reason='needs TRITON_INTERPRET=1')
@pytest.mark.parametrize('name', fused_scan.CLASSES)
@pytest.mark.parametrize('reason', ALTERATIONS)
def test_kernels_are_passed_over_where_a_module_was_altered(
    name: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    scan, x = Scan(64, mlstm_backend='triton'), torch.empty(1, 2, 3, 64)
    assert fused_scan.can_fuse(scan, x)
    setattr(scan, name, ALTERATIONS[reason](getattr(scan, name)))
    fused_scan._log.cache_clear()
    with caplog.at_level(logging.WARNING, 'vil_mm'):
        assert not fused_scan.can_fuse(scan, x) and not fused_scan.can_fuse(scan, x)
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"scan's {name} {reason}" in line


@pytest.mark.skipif(not INTERPRETED, reason='needs TRITON_INTERPRET=1')
def test_a_hooked_scan_gives_what_its_kernels_give() -> None:
    torch.manual_seed(0)
    scan, (x, z) = Scan(64, mlstm_backend='triton'), torch.randn(2, 1, 2, 3, 64)
    by_kernels, seen = scan(x, z, ROWS_BACK), []
    handle = scan.conv.register_forward_hook(lambda *hooked: seen.append(hooked[2]))
    torch.testing.assert_close(scan(x, z, ROWS_BACK), by_kernels)
    assert len(seen) == 1
    handle.remove()
    assert fused_scan.can_fuse(scan, x)
