"""UperNet on ViL-T/S/B, as its configs build it: the training step and slide inference.

    python benchmarks/upernet.py
    python benchmarks/upernet.py --sizes base --pixels 2048 --batch 1 --modes training

A training step is mmengine's: preprocessing, both losses, backward, the config's optimizer with its
parameter groups; on a GPU under bfloat16 autocast. Inference slides the config's window of 512 over
images of ``--pixels``, batch 1. Images and labels are random. With one image the batch norms of the
heads are kept in evaluation mode: one of them sees a single number a channel, which no training
accepts. Prints rows and writes results/upernet_DEVICE.{json,csv,png}.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import measure
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from roofline import vil_layer_bound
from torch import nn

import vil_mm.models  # noqa: F401  registers the backbone
from vil_mm.mlstm.roofline import Device

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
SIZES = {'tiny': ('t', 192), 'small': ('s', 384), 'base': ('b', 768)}
NUM_LAYERS = 24
CLASSES = 150


def main() -> None:
    args = read_options()
    measure.prepare(args)
    dtype = torch.bfloat16 if args.device == 'cuda' else torch.float32
    best = measure.rates(args.device, dtype)
    rows = []
    for size in args.sizes:
        for pixels in args.pixels:
            for mode in args.modes:
                rows.append(run(size, pixels, mode, best, args))
                measure.print_row(rows[-1])
    target = measure.save('upernet', rows, args)
    path = target.with_suffix('.png')
    measure.plot(path, rows, 'pixels', 'ms_per_image', ['mode'], 'size', 'backbone_bound_ms')


def read_options() -> argparse.Namespace:
    options = measure.parser(__doc__)
    options.add_argument('--sizes', nargs='+', choices=SIZES)
    options.add_argument('--pixels', nargs='+', type=int)
    options.add_argument('--modes', nargs='+', choices=('training', 'inference'))
    options.add_argument('--batch', type=int, help='of training: 16 at 512 px, 4 at 1024, CPU: 2')
    options.add_argument('--cp', action='store_true', help='activation checkpointing')
    args = options.parse_args()
    gpu = args.device == 'cuda'
    args.sizes = args.sizes or (['tiny', 'base'] if args.quick else list(SIZES))
    args.pixels = args.pixels or ([512, 1024, 2048] if gpu and not args.quick else [512])
    args.modes = args.modes or ['training', 'inference']
    return args


def run(size: str, pixels: int, mode: str, best: Device, args: argparse.Namespace) -> dict:
    """One row."""
    usual = max(1, 16 * 512**2 // pixels**2) if args.device == 'cuda' else 2
    batch = 1 if mode == 'inference' else args.batch or usual
    row = {'size': size, 'pixels': pixels, 'mode': mode, 'batch': batch, 'kind': 'ViL'}
    with measure.reason_kept(row), DefaultScope.overwrite_default_scope('mmseg'):
        before = measure.held_memory(args.device)
        config = read_config(size, pixels, args)
        model = MODELS.build(config.model).to(args.device)
        make = training_step if mode == 'training' else slide_inference
        call = make(model, config, row, args.device)
        for _ in range(2):
            call()
        held = measure.held_memory(args.device) - before
        row['peak_MiB'] = measure.peak_memory(call, args.device)
        if args.device == 'cuda':
            row['peak_MiB'] += held
        seconds = measure.take_turns({mode: call}, args.seconds, args.device)[mode]
        row['ms'], row['images_per_s'] = 1e3 * seconds, batch / seconds
        row['ms_per_image'] = 1e3 * seconds / batch
        row['backbone_bound_ms'] = 1e3 * backbone_bound(row, best, args.device)
    return row


def read_config(size: str, pixels: int, args: argparse.Namespace) -> Config:
    """The config for ADE20K, whose preprocessor then takes training images of ``pixels`` whole.

    The position embedding keeps the config's size: the backbone interpolates it to the image's.
    """
    config = Config.fromfile(CONFIGS / f'upernet_vil_{SIZES[size][0]}_512x512_ade20k.py')
    config.model.data_preprocessor.size = (pixels, pixels)
    config.model.data_preprocessor.test_cfg = {'size_divisor': 16}
    config.model.backbone.with_cp = args.cp
    return config


def training_step(model: nn.Module, config: Config, row: dict, device: str) -> Callable[[], None]:
    """Forward, both losses, backward and update of a batch, through mmengine's wrapper."""
    wrapper = dict(config.optim_wrapper)
    if device == 'cuda':
        wrapper['type'] = 'AutocastOptimWrapper'
    logging.disable(logging.INFO)  # a line for every parameter
    optimizer = build_optim_wrapper(model, wrapper)
    logging.disable(logging.NOTSET)
    data = random_data(row['batch'], row['pixels'])
    model.train()
    if row['batch'] == 1:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
    return lambda: model.train_step(data, optimizer)


def slide_inference(model: nn.Module, config: Config, row: dict, device: str) -> Callable[[], None]:
    """Windows of the config's size and stride over one image, to a map of classes."""
    data = random_data(1, row['pixels'])
    model.eval()

    def call() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(device, torch.bfloat16, enabled=device == 'cuda'),
        ):
            model.test_step(data)

    return call


def random_data(batch: int, pixels: int) -> dict:
    """Random pixels and labels, as mmseg's pipelines pack them."""
    size = (pixels, pixels)
    meta = {'img_shape': size, 'ori_shape': size, 'pad_shape': size}
    samples = [SegDataSample(metainfo=meta) for _ in range(batch)]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.randint(0, CLASSES, (1, *size)))
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for _ in range(batch)]
    return {'inputs': images, 'data_samples': samples}


def backbone_bound(row: dict, best: Device, device: str) -> float:
    """Least seconds of the ViL layers alone for one image, in windows of 512 in inference."""
    side, training = row['pixels'], row['mode'] == 'training'
    windows = 1
    if not training:
        windows = (max(0, -(-(side - 512) // 341)) + 1) ** 2
        side = min(side, 512)
    length, dim = (side // 16) ** 2, SIZES[row['size']][1]
    options = {'backward': training, 'element': 2 if device == 'cuda' else 4}
    return NUM_LAYERS * vil_layer_bound(length, dim, windows * length, best, **options)


if __name__ == '__main__':
    main()
