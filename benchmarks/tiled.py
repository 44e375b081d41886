"""Peak memory of inference on large images: UperNet on ViL-T, 150 classes, mode 'tiled'.

    python benchmarks/tiled.py
    python benchmarks/tiled.py --sides 1024 2048 --modes tiled slide

Each image has a process of its own: mmseg's ``inference_model`` predicts random pixels with
seeded weights; the peak is that of the process (``ru_maxrss``), so it holds Python, PyTorch, the
model and every copy of the image. ``band_MiB`` is what the logits of a band of rows take by count.
Windows are 512 pixels wide and 341 from one to the next; above 2048 pixels they lie side by side.
Prints rows and writes results/tiled_cpu.{json,csv}.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import time
from pathlib import Path

import measure
import numpy as np
import torch
from mmengine.config import Config

import vil_mm  # noqa: F401  registers backbone and segmentor
from vil_mm.models.segmentors import Tiling

CONFIG = Path(__file__).resolve().parent.parent / 'configs' / 'upernet_vil_t_512x512_ade20k.py'
CROP, CLASSES = 512, 150


def main() -> None:
    args = read_options()
    measure.prepare(args)
    if args.one:
        print(json.dumps(run(args.sides[0], args.modes[0], args)))
        return
    rows = []
    for side in args.sides:
        for mode in args.modes:
            rows.append(in_own_process(side, mode, args))
            measure.print_row(rows[-1])
    measure.save('tiled', rows, args)


def read_options() -> argparse.Namespace:
    options = measure.parser(__doc__)
    options.add_argument('--sides', nargs='+', type=int, help='of square images, in pixels')
    options.add_argument('--modes', nargs='+', choices=('tiled', 'slide'), default=['tiled'])
    options.add_argument('--one', action='store_true', help='in this process, print JSON')
    options.set_defaults(device='cpu')
    args = options.parse_args()
    if args.device != 'cpu':
        options.error('what is measured is the memory of a process: --device cpu')
    args.sides = args.sides or ([512, 1024] if args.quick else [1024, 2048, 4096, 8192])
    return args


def in_own_process(side: int, mode: str, args: argparse.Namespace) -> dict:
    """One row."""
    row = {'pixels': side, 'mode': mode}
    command = [sys.executable, __file__, '--one', '--sides', str(side), '--modes', mode]
    command += ['--device', 'cpu', '--threads', str(args.threads)]
    with measure.reason_kept(row):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f'status {done.returncode}: {done.stderr.strip()[-200:]}')
        row.update(json.loads(done.stdout.splitlines()[-1]))
    return row


def run(side: int, mode: str, args: argparse.Namespace) -> dict:
    """Predict one image; the peak is that of this process."""
    from mmseg.apis import inference_model, init_model

    logging.disable(logging.INFO)
    stride = 341 if side <= 2048 else CROP
    config = Config.fromfile(CONFIG)
    config.model.type = 'TiledEncoderDecoder'
    config.model.backbone.init_cfg = None
    config.model.test_cfg = {'mode': mode, 'crop_size': (CROP, CROP), 'stride': (stride, stride)}
    config.test_pipeline = [{'type': 'LoadImageFromNDArray'}, {'type': 'PackSegInputs'}]
    model = init_model(config, device='cpu')
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    before = measure.held_memory('cpu')
    start = time.perf_counter()
    labels = inference_model(model, image).pred_sem_seg.data
    seconds = time.perf_counter() - start
    assert labels.shape == (1, side, side)
    windows = Tiling((CROP, CROP), (stride, stride)).count((side, side))
    return {
        'stride': stride,
        'windows': windows,
        's': seconds,
        's_per_window': seconds / windows,
        'band_MiB': min(CROP, side) * side * CLASSES * 4 / 2**20,
        'before_MiB': before,
        'peak_MiB': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == '__main__':
    torch.set_grad_enabled(False)
    main()
