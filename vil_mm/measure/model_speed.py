"""Measure latency, throughput and peak memory of a config's model."""

from __future__ import annotations

import contextlib
import gc
import statistics
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.structures import BaseDataElement, PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch import nn

from vil_mm.errors import ArgumentError
from vil_mm.measure.flops import count_flops
from vil_mm.measure.inputs import make_noise, name_size
from vil_mm.measure.speed import Call, Row, device_name, find_timer, peak_memory
from vil_mm.models.inspection import count_parameters, find_kind
from vil_mm.progress import Progress, no_progress, track
from vil_mm.runs.build import load_model
from vil_mm.runs.devices import check_device, find_device
from vil_mm.runs.precision import use_mixed_precision
from vil_mm.runs.tasks import registry_scope

WARM_UP = 2  # calls before the timed ones


@dataclass(frozen=True)
class Setting:
    """How to measure a model.

    Attributes:
        device: 'cpu' or 'cuda'.
        batch_size: Images per call.
        repeat: Timed calls.
        train_step: Time a training step, with the config's optimizer, instead of a prediction.
        amp: None, or 'float16' (GPUs only) or 'bfloat16' for autocast.
        compile: Compile the backbone.
    """

    device: str = 'cpu'
    batch_size: int = 1
    repeat: int = 20
    train_step: bool = False
    amp: str | None = None
    compile: bool = False

    def check(self) -> None:
        """Raise ValueError if a value is out of range or the device does not exist."""
        check_device(self.device)
        for name in ('batch_size', 'repeat'):
            if getattr(self, name) < 1:
                raise ArgumentError('expected 1 or more', **{name: getattr(self, name)})
        if self.amp == 'float16' and self.device == 'cpu':
            raise ArgumentError('needs a GPU; use bfloat16', amp='float16')

    def as_row(self) -> Row:
        """The part that result files record."""
        return {
            'batch_size': self.batch_size,
            'repeat': self.repeat,
            'train_step': self.train_step,
            'precision': self.amp or 'float32',
            'compile': self.compile,
        }


def read_setting(args: Namespace) -> Setting:
    """The setting for the options of ``tools/benchmark.py`` and ``tools/compare.py``.

    Raises:
        ValueError: An option is out of range, or the device does not exist.
    """
    device, amp = args.device or find_device(), args.amp
    if amp == 'auto':
        amp = 'float16' if device == 'cuda' else 'bfloat16'
    setting = Setting(device, args.batch_size, args.repeat, args.train_step, amp, args.compile)
    setting.check()
    return setting


def measure_model(
    cfg: Config,
    shape: tuple[int, int],
    setting: Setting,
    checkpoint: str | None = None,
    progress: Progress = no_progress,
) -> Row:
    """Measure a config's model on random images.

    A prediction includes windows of ``test_cfg``, resizing to full size and the choice of the
    class; for a detector, only backbone, neck and heads, with proposals in two-stage ones. Images
    are already normalised and on the device.

    Args:
        cfg: Config of a segmentor, classifier or detector.
        shape: Height and width in pixels.
        setting: How to measure.
        checkpoint: Weights of the whole model, or official ones of a classifier; random weights
            take the same time.
        progress: Called after each timed call.

    Returns:
        ``ms`` and ``ms_p90`` per call, ``images_per_s``, ``peak_MiB``, ``parameters`` (M) and, for
        predictions, ``GMAC`` per image, from ``count_flops``. Peak memory on a GPU is PyTorch's
        largest allocation, including weights; on a CPU (Linux), the weights plus the growth of the
        process's resident set during a call, or None if unknown.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        ValueError: The setting, config, size or checkpoint is unsuitable.
    """
    setting.check()
    model = load_model(cfg, checkpoint, setting.device)
    if setting.compile:
        model.backbone.compile()
    call = (_training if setting.train_step else _prediction)(model, cfg, shape, setting)
    with name_size(shape):
        for _ in range(WARM_UP):
            call()
    # in a function, to free the timer's 256 MiB on a GPU before memory is measured
    times = _times(
        call, setting.device, track(range(setting.repeat), setting.repeat, 'calls', progress)
    )
    median = statistics.median(times)
    row: Row = {
        'height': shape[0],
        'width': shape[1],
        'ms': 1e3 * median,
        'ms_p90': 1e3 * float(np.quantile(times, 0.9)),
        'images_per_s': setting.batch_size / median,
        'peak_MiB': _peak(call, model, setting.device),
        'parameters': count_parameters(model) / 1e6,
    }
    if not setting.train_step and not setting.compile:
        row['GMAC'] = count_flops(model, shape).total / 1e9
    return row


def _times(call: Call, device: str, turns: Iterable[int]) -> list[float]:
    """Seconds of each call."""
    timer = find_timer(device)
    return [timer(call) for _ in turns]


def format_row(row: Row, setting: Setting) -> str:
    """A row of :func:`measure_model` in words, with the machine and the kind of memory."""
    what = 'training step' if setting.train_step else 'prediction'
    peak = row['peak_MiB']
    threads = f', {torch.get_num_threads()} threads' if setting.device == 'cpu' else ''
    how = (
        'largest allocation of PyTorch'
        if setting.device == 'cuda'
        else "weights plus growth of the process's resident set during a call"
    )
    lines = [
        f'{device_name(setting.device)}{threads}, {setting.amp or "float32"}'
        f'{", compiled" if setting.compile else ""}, torch {torch.__version__}',
        f'{what} of {setting.batch_size} x {row["height"]} x {row["width"]} pixels, '
        f'{setting.repeat} calls',
        f'latency        {row["ms"]:.1f} ms median, {row["ms_p90"]:.1f} ms 90th percentile',
        f'throughput     {row["images_per_s"]:.2f} images/s',
        'peak memory    '
        + ('unknown, needs Linux with glibc' if peak is None else f'{peak:.0f} MiB ({how})'),
        f'parameters     {row["parameters"]:.2f} M',
    ]
    if 'GMAC' in row:
        lines.append(f'multiply-adds  {row["GMAC"]:.2f} G per image, see tools/get_flops.py')
    return '\n'.join(lines)


def _prediction(model: nn.Module, cfg: Config, shape: tuple[int, int], setting: Setting) -> Call:
    images = make_noise(model, shape, setting.batch_size, setting.device)
    mode, samples = 'predict', None
    if find_kind(model) == 'detector':  # the number of boxes would be random
        sizes = {'img_shape': shape, 'ori_shape': shape, 'batch_input_shape': shape}
        mode, samples = 'tensor', [BaseDataElement(metainfo=sizes) for _ in images]

    def call() -> None:
        with torch.no_grad(), _autocast(setting):
            model(images, samples, mode=mode)

    return call


def _training(model: nn.Module, cfg: Config, shape: tuple[int, int], setting: Setting) -> Call:
    images = make_noise(model, shape, setting.batch_size, setting.device)
    samples = _targets(model, shape, setting)
    options = cfg.get('optim_wrapper') or {'optimizer': {'type': 'AdamW', 'lr': 1e-4}}
    options = Config({'o': options}).o
    options.pop('accumulative_counts', None)  # one step per update
    if setting.amp:
        use_mixed_precision(options, setting.amp)
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')  # otherwise it lists every parameter
    with registry_scope(cfg):
        optimizer = build_optim_wrapper(model.train(), options)
    logger.setLevel(level)

    def call() -> None:
        with optimizer.optim_context(model):
            losses = model(images, samples, mode='loss')
        optimizer.update_params(model.parse_losses(losses)[0])

    return call


def _targets(model: nn.Module, shape: tuple[int, int], setting: Setting) -> list:
    """Random labels for a batch."""
    kind, device = find_kind(model), setting.device
    if kind == 'segmentor':
        head = model.decode_head
        head = head[-1] if isinstance(head, nn.ModuleList) else head
        labels = torch.randint(head.num_classes, (setting.batch_size, 1, *shape), device=device)
        return [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    if kind == 'classifier':
        classes = torch.randint(model.head.num_classes, (setting.batch_size,))
        scores = nn.functional.one_hot(classes, model.head.num_classes).float().to(device)
        samples = [DataSample() for _ in classes]
        return [
            sample.set_gt_label(int(label)).set_gt_score(score)
            for sample, label, score in zip(samples, classes, scores, strict=True)
        ]
    raise ArgumentError('supports segmentors and classifiers, not detectors', train_step=True)


def _autocast(setting: Setting) -> contextlib.AbstractContextManager:
    if setting.amp is None:
        return contextlib.nullcontext()
    return torch.autocast(setting.device, getattr(torch, setting.amp))


def _peak(call: Call, model: nn.Module, device: str) -> float | None:
    """Peak memory in MiB, see :func:`measure_model`."""
    if device == 'cuda':
        gc.collect()
        held = torch.cuda.memory_allocated() / 2**20
    else:
        tensors = [*model.parameters(), *model.buffers()]
        held = sum(x.numel() * x.element_size() for x in tensors) / 2**20
    added = peak_memory(call, device)
    return None if added is None else held + added
