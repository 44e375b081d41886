"""torch.compile and torch.export of the whole backbone, with the fused operators and without."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from functorch.compile import make_boxed_func
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd

from vil_mm import CONFIG_DIR
from vil_mm.layers.fused import scan
from vil_mm.mlstm.triton import runtime
from vil_mm.models.backbones import VisionLSTM

LAYERS = 4
OPERATORS = ('local_mix', 'mlstm', 'norm_skip_gate')
VARIANTS = {
    'v2': {},
    'v1': {'version': 1},
    'quad': {'traversal': 'alternating_quad'},
    'v1 quad': {'version': 1, 'traversal': 'alternating_quad'},
}
variants = pytest.mark.parametrize('variant', VARIANTS)


def build(backend: str, **options) -> VisionLSTM:
    torch.manual_seed(0)
    arch = {'embed_dims': 32, 'num_layers': LAYERS}
    options = {'arch': arch, 'img_size': 16, 'patch_size': 4, 'mlstm_backend': backend} | options
    model = VisionLSTM(**options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


def image(height: int = 12, width: int = 16) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def operators(graph: torch.fx.GraphModule) -> Counter[str]:
    """How often a graph calls each operator of this package."""
    names = (str(node.target) for node in graph.graph.nodes if node.op == 'call_function')
    found = (n.removeprefix('vil_mm.').removesuffix('.default') for n in names if 'vil_mm' in n)
    return Counter(found)


def loss_and_gradients(model, x: Tensor, parameters) -> list[Tensor]:
    loss = model(x)[0].square().mean()
    return [loss, *torch.autograd.grad(loss, parameters)]


def close(got: list[Tensor], want: list[Tensor]) -> None:
    """Relative to the largest of a tensor: what is compared are the same operators."""
    for x, y in zip(got, want, strict=True):
        assert (x - y).abs().max() <= 1e-5 * y.abs().max()


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators run as on a CPU without the interpreter: by PyTorch, which is quick."""
    monkeypatch.setattr(runtime, 'INTERPRETED', False)
    monkeypatch.setattr(scan, 'unsupported_reason', lambda *tensors: None)


def recorder(graphs: list[torch.fx.GraphModule]):
    """A compiler that keeps the graph it is given and runs it as it is."""

    def compiler(graph: torch.fx.GraphModule, inputs: list[Tensor]):
        graphs.append(graph)
        return make_boxed_func(graph.forward)

    return compiler


def check_compiled_training(backend: str, forward_nodes: dict, backward_nodes: dict, **options):
    """One graph forward, one backward, of these nodes; loss and gradients as in eager mode."""
    model, x = build(backend, **options).train(), image()
    parameters = list(model.parameters())
    forward, backward = [], []
    compiler = aot_autograd(fw_compiler=recorder(forward), bw_compiler=recorder(backward))
    compiled = torch.compile(model, fullgraph=True, backend=compiler)
    got = loss_and_gradients(compiled, x, parameters)
    assert [operators(graph) for graph in forward] == [forward_nodes]
    assert [operators(graph) for graph in backward] == [backward_nodes]
    close(got, loss_and_gradients(model, x, parameters))


@pytest.mark.slow
@variants
def test_training_compiles_to_one_node_an_operator(variant: str, without_kernels) -> None:
    nodes = dict.fromkeys(OPERATORS, LAYERS)
    backward_nodes = {f'{name}_backward': LAYERS for name in OPERATORS}
    check_compiled_training('triton', nodes, backward_nodes, **VARIANTS[variant])


@pytest.mark.slow
@pytest.mark.parametrize('variant', ['v2', 'v1 quad'])
def test_training_compiles_without_operators(variant: str) -> None:
    check_compiled_training('auto', {}, {}, **VARIANTS[variant])


QUICK_TRACES = [('parallel', (16, 16), True), ('chunkwise', (12, 16), False)]
TRACES = [
    pytest.param(*case, marks=() if case in QUICK_TRACES else pytest.mark.slow)
    for case in itertools.product(
        ['parallel', 'recurrent', 'chunkwise'], [(16, 16), (12, 16)], [True, False]
    )
]


@pytest.mark.parametrize(('backend', 'size', 'grad'), TRACES)
def test_a_trace_passes_its_own_check_and_is_saved(
    backend: str, size: tuple[int, int], grad: bool, tmp_path: Path
) -> None:
    model = build(backend, out_indices=(0, 1)).eval()
    with torch.set_grad_enabled(grad):
        torch.jit.trace(model, image(*size), check_trace=True).save(tmp_path / 'traced.pt')
    other = torch.flip(image(*size), (2,))
    for x, y in zip(torch.jit.load(tmp_path / 'traced.pt')(other), model(other), strict=True):
        torch.testing.assert_close(x, y)


def test_a_traced_segmentor_gives_its_logits() -> None:
    cfg = Config.fromfile(CONFIG_DIR / 'upernet_vil_t_drawn.py').model
    cfg.backbone.arch = {'embed_dims': 16, 'num_layers': 24}
    cfg.neck.embed_dim = cfg.auxiliary_head.in_channels = 16
    cfg.decode_head.in_channels = [16] * 4
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg).eval()
    traced = torch.jit.trace(model, image(64, 96))
    torch.testing.assert_close(traced(-image(64, 96)), model(-image(64, 96)))


def export(model: VisionLSTM) -> torch.export.ExportedProgram:
    """A program of images of this size, any number of them."""
    batch = torch.export.Dim('batch', min=1, max=64)
    return torch.export.export(model, (image().repeat(2, 1, 1, 1),), dynamic_shapes=({0: batch},))


def check_exported(model: VisionLSTM, nodes: dict[str, int], path: Path) -> None:
    """The program, before and after a file, against the model, at another size of the batch."""
    program = export(model)
    assert operators(program.graph_module) == nodes
    torch.export.save(program, path)
    x = torch.cat([image(), -image(), image().square()])
    want = list(model(x))
    for each in (program, torch.export.load(path)):
        close(list(each.module()(x)), want)


@pytest.mark.parametrize(
    'variant',
    ['v2', *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS if name != 'v2')],
)
def test_export_has_one_node_an_operator(variant: str, without_kernels, tmp_path: Path) -> None:
    model = build('triton', **VARIANTS[variant]).eval()
    check_exported(model, dict.fromkeys(OPERATORS, LAYERS), tmp_path / 'fused.pt2')
    close(list(model(image())), list(build('parallel', **VARIANTS[variant]).eval()(image())))


@pytest.mark.slow
@variants
def test_export_without_operators(variant: str, tmp_path: Path) -> None:
    check_exported(build('auto', **VARIANTS[variant]).eval(), {}, tmp_path / 'plain.pt2')


RUN_A_FILE = """
import sys, torch, vil_mm
program, x, want = sys.argv[1], *torch.load(sys.argv[2])
torch.testing.assert_close(torch.export.load(program).module()(x)[0], want)
"""


@pytest.mark.slow
def test_exported_file_runs_in_another_process(without_kernels, tmp_path: Path) -> None:
    model, x = build('triton').eval(), image()
    torch.export.save(export(model), tmp_path / 'model.pt2')
    with torch.no_grad():
        torch.save((x, model(x)[0]), tmp_path / 'x.pt')
    files = [str(tmp_path / name) for name in ('model.pt2', 'x.pt')]
    environment = {k: v for k, v in os.environ.items() if k != 'TRITON_INTERPRET'}
    subprocess.run([sys.executable, '-c', RUN_A_FILE, *files], check=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['triton', 'auto'])
def test_inductor_agrees_with_eager(backend: str, without_kernels) -> None:
    if shutil.which('g++') is None:
        pytest.skip('inductor needs a C++ compiler')
    model, x = build(backend, traversal='alternating_quad').train(), image()
    parameters = list(model.parameters())
    got = loss_and_gradients(torch.compile(model, fullgraph=True), x, parameters)
    close(got, loss_and_gradients(model, x, parameters))


@pytest.mark.slow
def test_interpreted_kernels_in_a_compiled_model() -> None:
    if not runtime.INTERPRETED:
        pytest.skip('needs TRITON_INTERPRET=1')
    arch = {'embed_dims': 32, 'num_layers': 2}
    model, x = build('triton', arch=arch).train(), image()
    parameters = list(model.parameters())
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    close(loss_and_gradients(compiled, x, parameters), loss_and_gradients(model, x, parameters))
