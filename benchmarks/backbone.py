"""Whole ViL backbones against mmpretrain's ViT of the same width: time, memory, largest batch.

    python benchmarks/backbone.py                           # the table of targets, on a GPU
    python benchmarks/backbone.py --device cpu              # the table of targets on a CPU, float32
    python benchmarks/backbone.py --table paper             # the settings of the paper's runtimes
    python benchmarks/backbone.py --table traversal         # scans by columns, version 2

ViT is mmpretrain's VisionTransformer (its deit-tiny, -small, -base and large), DeiT-III its DeiT3;
both call scaled_dot_product_attention, here by flash attention where there is a GPU. ViTs return
their class token, ViL the average of all. A training step is forward, a loss, backward and AdamW;
inference has no gradients. On a GPU parameters are float32 under bfloat16 autocast. The models of
one case take turns. On a CPU the settings are those of CPU_SETTINGS: one image and 8, one thread
and two. `first_call_s` of a compiled model is almost all compilation. A CPU core takes
minutes for it, so that --run compile has to be asked for there; --run blocks compiles each block by
itself, which is far quicker. `sdpa` is the attention that ran.

Prints rows and writes results/backbone_DEVICE.{json,csv,png}. The other tables write
backbone_TABLE_DEVICE: `paper` is version 1 at 224 px, last token and a head of 1000 classes, every
block design; `traversal` compares alternating_quad, where half of the scans go by columns, with
alternating.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator

import measure
import peers
import torch
from mmpretrain.models import DeiT3, VisionTransformer
from roofline import vil_layer_bound, vit_block_bound
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vil_mm.layers import TRAVERSALS
from vil_mm.mlstm.roofline import Device
from vil_mm.models import VisionLSTM

# size -> width d, layers of the ViL, blocks of the ViT, heads of the ViT
SIZES = {
    'tiny': (192, 24, 12, 3),
    'small': (384, 24, 12, 6),
    'base': (768, 24, 12, 12),
    'large': (1024, 48, 24, 16),
}
PIXELS = (224, 512, 1024, 2048)
MODES = ('inference', 'training')
WAYS = ('eager', 'compile', 'blocks')
CPU_SETTINGS = (  # mode, images, threads, pixels
    ('inference', 1, 1, (224, 512, 1024)),
    ('inference', 8, 1, (224, 512)),
    ('inference', 1, 2, (224, 512, 1024)),
    ('training', 1, 1, (224, 512, 1024)),
)
TOKENS = 65536  # in a batch on a GPU; a quarter for large
# The first that can is taken: attention of float32 has no flash form.
ATTENTION = {
    'flash': [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION],
    'cudnn': [SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION],
}


def main() -> None:
    args = read_options()
    measure.prepare(args)
    dtype = torch.bfloat16 if args.device == 'cuda' else torch.float32
    best = measure.rates(args.device, dtype)
    cases = {'sizes': side_by_side, 'paper': paper_cases, 'traversal': traversal_cases}[args.table]
    rows = []
    for models, case in cases(args):
        for setting in settings(args, case):
            rows += compare(models, case | setting, best, args)
    name = 'backbone' if args.table == 'sizes' else f'backbone_{args.table}'
    target = measure.save(name, rows, args)
    panels = ['size', 'mode'] + (['batch', 'threads'] if args.device == 'cpu' else [])
    for mode in args.modes:
        own = [row for row in rows if row['mode'] == mode]
        path = target.with_name(f'{target.stem}_{mode}.png')
        measure.plot(path, own, 'pixels', 'ms_per_image', panels, 'line', 'bound_ms')


def read_options() -> argparse.Namespace:
    options = measure.parser(__doc__)
    options.add_argument('--table', choices=('sizes', 'paper', 'traversal'), default='sizes')
    options.add_argument('--sizes', nargs='+', choices=SIZES)
    options.add_argument('--pixels', nargs='+', type=int)
    options.add_argument('--modes', nargs='+', choices=MODES)
    options.add_argument('--run', nargs='+', choices=WAYS)
    options.add_argument('--peers', nargs='*', choices=('ViT', 'DeiT-III'))
    options.add_argument('--batch', type=int, help='images; by default 65536 tokens, 1 on a CPU')
    options.add_argument('--attention', choices=ATTENTION, default='flash', help='on a GPU')
    options.add_argument('--largest', action='store_true', help='also the largest training batch')
    options.set_defaults(threads=None)
    args = options.parse_args()
    gpu, paper = args.device == 'cuda', args.table == 'paper'
    if args.largest and not gpu:
        options.error('--largest needs a GPU')
    sizes = ['tiny', 'base'] if args.quick else ['tiny', 'small', 'base', 'large']
    args.sizes = args.sizes or (sizes if gpu else sizes[:1] if args.quick else sizes[:3])
    args.pixels = args.pixels or usual_pixels(args)
    args.modes = args.modes or (['training'] if paper else MODES)
    args.run = args.run or (
        ['eager'] if args.quick or not gpu else ['compile'] if paper else ['eager', 'compile']
    )
    if args.peers is None:
        args.peers = ['ViT'] if args.quick or not gpu else ['ViT', 'DeiT-III']
    return args


def usual_pixels(args: argparse.Namespace) -> tuple[int, ...]:
    if args.table != 'sizes':
        return (224,) if args.table == 'paper' else (512, 1024)
    if args.device == 'cpu':
        return (224, 512, 1024)
    return PIXELS[1:] if args.quick else PIXELS


# which models -----------------------------------------------------------------------------------

Build = Callable[[], nn.Module]


def side_by_side(args: argparse.Namespace):
    """ViL and its peers of the same size: (name -> how to build, what the rows have in common)."""
    for size in args.sizes:
        for pixels in args.pixels:
            builds = {'ViL': lambda size=size, px=pixels: vil(size, px)}
            for peer in args.peers:
                builds[peer] = lambda size=size, px=pixels, peer=peer: vit(peer, size, px)
            yield builds, {'size': size, 'pixels': pixels}


def paper_cases(args: argparse.Namespace):
    """Version 1 in every size, and tiny in every block design."""
    for size in args.sizes:
        designs = TRAVERSALS if size == 'tiny' else ('alternating',)
        usual = (64 if size == 'large' else 256) if args.device == 'cuda' else 1
        for pixels in args.pixels:
            builds = {name: lambda s=size, p=pixels, n=name: paper(s, p, n) for name in designs}
            yield builds, {'size': size, 'pixels': pixels, 'batch': args.batch or usual}


def traversal_cases(args: argparse.Namespace):
    """Version 2 with half of its scans by columns, and with none."""
    for size in args.sizes:
        for pixels in args.pixels:
            names = ('alternating', 'alternating_quad')
            builds = {name: lambda s=size, p=pixels, n=name: vil(s, p, n) for name in names}
            yield builds, {'size': size, 'pixels': pixels}


def settings(args: argparse.Namespace, case: dict) -> Iterator[dict]:
    """Mode, images and threads with which a case is run: CPU_SETTINGS, unless options say them."""
    on_cpu = args.device == 'cpu' and args.table == 'sizes' and case['pixels'] in PIXELS[:3]
    if on_cpu and not (args.batch or args.threads):
        for mode, batch, threads, pixels in CPU_SETTINGS:
            if mode in args.modes and case['pixels'] in pixels:
                yield {'mode': mode, 'batch': batch, 'threads': threads}
        return
    batch = case.get('batch') or usual_batch(case['size'], case['pixels'], args)
    for mode in args.modes:
        yield {'mode': mode, 'batch': batch, 'threads': args.threads or 1}


def usual_batch(size: str, pixels: int, args: argparse.Namespace) -> int:
    tokens = TOKENS // 4 if size == 'large' else TOKENS
    fitting = max(1, tokens // (pixels // 16) ** 2) if args.device == 'cuda' else 1
    return args.batch or fitting


def vil(size: str, pixels: int, traversal: str = 'alternating') -> nn.Module:
    return VisionLSTM(size, img_size=pixels, out_type='avg', traversal=traversal)


def paper(size: str, pixels: int, design: str) -> nn.Module:
    options = {'version': 1, 'out_type': 'last', 'traversal': design}
    backbone = VisionLSTM(size, img_size=pixels, **options)
    return nn.Sequential(backbone, First(), nn.Linear(SIZES[size][0], 1000))


def vit(kind: str, size: str, pixels: int) -> nn.Module:
    dim, _, blocks, heads = SIZES[size]
    arch = {'embed_dims': dim, 'num_layers': blocks, 'num_heads': heads}
    arch['feedforward_channels'] = 4 * dim
    model = DeiT3 if kind == 'DeiT-III' else VisionTransformer
    return model(arch, img_size=pixels, out_type='cls_token')


class First(nn.Module):
    """The only entry of a backbone's tuple."""

    def forward(self, outputs: tuple[Tensor, ...]) -> Tensor:
        return outputs[0]


# what is measured -------------------------------------------------------------------------------


def compare(builds: dict[str, Build], case: dict, best: Device, args: argparse.Namespace):
    """A row for each model and way of running; all of one way take turns."""
    rows = []
    torch.set_num_threads(case['threads'])
    for way in args.run:
        torch.compiler.reset()
        own = [{'model': name, 'run': way, **case} for name in builds]
        calls: dict[str, Callable[[], None]] = {}
        with force_attention(args):
            if args.largest and (case['mode'], way) == ('training', 'eager'):
                for row in own:  # first, while no other model takes room
                    with measure.reason_kept(row):
                        row['largest_batch'] = largest_batch(builds[row['model']], row)
            for row in own:
                with measure.reason_kept(row):
                    fill(row, calls, builds[row['model']], args)
            with measure.reason_kept(failed := {}):
                times = measure.take_turns(calls, args.seconds, args.device)
        for row in own:
            if row['model'] in calls:
                row.update(failed or timed(row, times, best, args.device))
            measure.print_row(row)
        rows += own
    return rows


def force_attention(args: argparse.Namespace):
    """The attention that ViTs use, on a GPU; a CPU chooses for itself."""
    if args.device == 'cpu':
        return contextlib.nullcontext()
    return sdpa_kernel(ATTENTION[args.attention], set_priority=True)


def fill(row: dict, calls: dict, build: Build, args: argparse.Namespace) -> None:
    """Build a model, warm it up, note its memory, and enter it among the calls to be timed."""
    row['line'] = f'{row["model"]}, {row["run"]}'
    row['kind'] = 'ViT' if row['model'] in ('ViT', 'DeiT-III') else 'ViL'
    torch.manual_seed(0)
    before = measure.held_memory(args.device)
    model = build().to(args.device)
    call = step(model, row['batch'], row['pixels'], row['mode'], row['run'], args.device)
    start = time.perf_counter()
    call()
    if row['run'] != 'eager':
        row['first_call_s'] = time.perf_counter() - start
    for _ in range(2):
        call()
    held = measure.held_memory(args.device) - before
    row['peak_MiB'] = measure.peak_memory(call, args.device)
    if args.device == 'cuda':  # what stays between steps belongs to it: weights, AdamW, images
        row['peak_MiB'] += held
    if row['kind'] == 'ViT':
        row['sdpa'] = attention_of_vit(row, args)
    calls[row['model']] = call


def attention_of_vit(row: dict, args: argparse.Namespace) -> str:
    """The backend of scaled_dot_product_attention that takes this ViT's patches and class token."""
    gpu = args.device == 'cuda'
    choices = ATTENTION[args.attention] if gpu else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    shape = (1, SIZES[row['size']][3], (row['pixels'] // 16) ** 2 + 1, peers.HEAD)
    like = {'device': args.device, 'dtype': torch.bfloat16 if gpu else torch.float32}
    return peers.attention_that_runs(choices, shape, training=row['mode'] == 'training', **like)


def step(
    model: nn.Module, batch: int, pixels: int, mode: str, way: str, device: str
) -> Callable[[], None]:
    """One inference, or one training step, of a batch of random images."""
    images = torch.randn(batch, 3, pixels, pixels, device=device)
    run = torch.compile(model) if way == 'compile' else model
    if way == 'blocks':
        for block in repeated_blocks(model):
            block.compile()
    model.train(mode == 'training')  # returns None in mmpretrain

    def output() -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=device == 'cuda'):
            out = run(images)
        return out if isinstance(out, Tensor) else out[0]

    def inference() -> None:
        with torch.inference_mode():
            output()

    if mode == 'inference':
        return inference
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=device == 'cuda')

    def training() -> None:
        output().float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return training


def repeated_blocks(model: nn.Module) -> nn.ModuleList:
    """What a model repeats; compiled by themselves they share their code."""
    backbone = model[0] if isinstance(model, nn.Sequential) else model
    return backbone.blocks if isinstance(backbone, VisionLSTM) else backbone.layers


def timed(row: dict, times: dict[str, float], best: Device, device: str) -> dict:
    """The columns that follow from a time."""
    dim, layers, blocks, _ = SIZES[row['size']]
    length = (row['pixels'] // 16) ** 2
    shape = (length, dim, length, best)  # of one image
    options = {'backward': row['mode'] == 'training', 'element': 2 if device == 'cuda' else 4}
    if row['kind'] == 'ViT':
        least = blocks * vit_block_bound(*shape, **options)
    else:
        least = layers * vil_layer_bound(*shape, **options)
    seconds = times[row['model']]
    found = {
        'ms': 1e3 * seconds,
        'images_per_s': row['batch'] / seconds,
        'ms_per_image': 1e3 * seconds / row['batch'],
    }
    if row['model'] in ('ViL', 'ViT', 'DeiT-III', 'alternating', 'alternating_quad'):
        found['bound_ms'] = 1e3 * least
        if device == 'cuda':  # bounds hold for fused kernels
            found['of_bound'] = least * row['batch'] / seconds
    for peer in ('ViT', 'alternating'):
        if peer in times:
            found[f'time_over_{peer}'] = seconds / times[peer]
    return found


def largest_batch(build: Build, row: dict) -> int:
    """Images of the largest training step that fits, to about a sixteenth; eager."""
    model = build().to('cuda')

    def fits(batch: int) -> bool:
        try:
            step(model, batch, row['pixels'], 'training', 'eager', 'cuda')()
            return True
        except torch.cuda.OutOfMemoryError:
            return False
        finally:
            model.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()

    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


if __name__ == '__main__':
    main()
