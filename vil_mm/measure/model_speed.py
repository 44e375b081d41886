"""Latency, throughput and peak memory of a config's model."""

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

WARM_UP = 2  # calls before the first that counts


@dataclass(frozen=True)
class Setting:
    """How a model is measured.

    Attributes:
        device: 'cpu' or 'cuda'.
        batch_size: Images a call.
        repeat: Calls that count.
        train_step: Time a step of training, with the config's optimizer, instead of a prediction.
        amp: None, 'float16' or 'bfloat16' for autocast; 'float16' is for GPUs.
        compile: Compile the backbone.
    """

    device: str = 'cpu'
    batch_size: int = 1
    repeat: int = 20
    train_step: bool = False
    amp: str | None = None
    compile: bool = False

    def check(self) -> None:
        """Raises ValueError if something is out of its range or the device is not there."""
        check_device(self.device)
        for name in ('batch_size', 'repeat'):
            if getattr(self, name) < 1:
                raise ArgumentError('expected 1 or more', **{name: getattr(self, name)})
        if self.amp == 'float16' and self.device == 'cpu':
            raise ArgumentError('needs a GPU; take bfloat16', amp='float16')

    def as_row(self) -> Row:
        """What results keep of it."""
        return {
            'batch_size': self.batch_size,
            'repeat': self.repeat,
            'train_step': self.train_step,
            'precision': self.amp or 'float32',
            'compile': self.compile,
        }


def read_setting(args: Namespace) -> Setting:
    """What the options of ``tools/benchmark.py`` and ``tools/compare.py`` ask for.

    Raises:
        ValueError: One is out of its range, or there is no such device.
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

    A prediction is the network with all that turns its output into one at full size: windows of
    ``test_cfg``, resizing and the choice of the class; of a detector backbone, neck and heads
    alone, those of two stages with the choice of proposals. Images lie on the device, normalised.

    Args:
        cfg: Of a segmentor, classifier or detector.
        shape: Height and width in pixels.
        setting: How.
        checkpoint: Weights of the whole model, or official ones of a classifier; random ones take
            as long.
        progress: Told how far it is.

    Returns:
        ``ms`` and ``ms_p90`` a call, ``images_per_s``, ``peak_MiB``, ``parameters`` (M) and, of
        predictions, ``GMAC`` an image, the multiply-adds of ``count_flops``. Peak memory is on a
        GPU what PyTorch had allocated at most, weights included; on a CPU (Linux) the weights and
        what a call adds to the process's resident set at its peak, None where that is not known.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The setting, the config, the size or the checkpoint does not allow it.
    """
    setting.check()
    model = load_model(cfg, checkpoint, setting.device)
    if setting.compile:
        model.backbone.compile()
    call = (_training if setting.train_step else _prediction)(model, cfg, shape, setting)
    with name_size(shape):
        for _ in range(WARM_UP):
            call()
    # of its own, so that the timer's 256 MiB on a GPU are gone before memory is taken
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
    """Seconds of the call at each turn."""
    timer = find_timer(device)
    return [timer(call) for _ in turns]


def format_row(row: Row, setting: Setting) -> str:
    """A row of :func:`measure_model` in words, with the machine and how memory was taken."""
    what = 'training step' if setting.train_step else 'prediction'
    peak = row['peak_MiB']
    threads = f', {torch.get_num_threads()} threads' if setting.device == 'cpu' else ''
    how = (
        'most that PyTorch had allocated'
        if setting.device == 'cuda'
        else "weights, and what a call adds to the process's resident set at its peak"
    )
    lines = [
        f'{device_name(setting.device)}{threads}, {setting.amp or "float32"}'
        f'{", compiled" if setting.compile else ""}, torch {torch.__version__}',
        f'{what} of {setting.batch_size} x {row["height"]} x {row["width"]} pixels, '
        f'{setting.repeat} calls',
        f'latency        {row["ms"]:.1f} ms median, {row["ms_p90"]:.1f} ms 90th percentile',
        f'throughput     {row["images_per_s"]:.2f} images/s',
        'peak memory    '
        + ('unknown, Linux with glibc tells it' if peak is None else f'{peak:.0f} MiB ({how})'),
        f'parameters     {row["parameters"]:.2f} M',
    ]
    if 'GMAC' in row:
        lines.append(f'multiply-adds  {row["GMAC"]:.2f} G an image, see tools/get_flops.py')
    return '\n'.join(lines)


def _prediction(model: nn.Module, cfg: Config, shape: tuple[int, int], setting: Setting) -> Call:
    images = make_noise(model, shape, setting.batch_size, setting.device)
    mode, samples = 'predict', None
    if find_kind(model) == 'detector':  # what random weights find depends on chance
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
    options.pop('accumulative_counts', None)  # a step is an update
    if setting.amp:
        use_mixed_precision(options, setting.amp)
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')  # or a line for each parameter of a group
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
    raise ArgumentError(
        'works with segmentors and classifiers, not with detectors', train_step=True
    )


def _autocast(setting: Setting) -> contextlib.AbstractContextManager:
    if setting.amp is None:
        return contextlib.nullcontext()
    return torch.autocast(setting.device, getattr(torch, setting.amp))


def _peak(call: Call, model: nn.Module, device: str) -> float | None:
    """MiB, see :func:`measure_model`."""
    if device == 'cuda':
        gc.collect()
        held = torch.cuda.memory_allocated() / 2**20
    else:
        tensors = [*model.parameters(), *model.buffers()]
        held = sum(x.numel() * x.element_size() for x in tensors) / 2**20
    added = peak_memory(call, device)
    return None if added is None else held + added
