"""Prepare a config for training or testing, or fail with a clear error."""

from __future__ import annotations

import sys
from pathlib import Path

from mmengine.config import Config

from vil_mm.errors import ArgumentError
from vil_mm.runs.checks import check_checkpoint, check_data, check_pretrained, check_trains
from vil_mm.runs.data import check_samples
from vil_mm.runs.loaders import check_lengths, settle_loaders
from vil_mm.runs.log_backends import use_log_backends
from vil_mm.runs.precision import use_mixed_precision
from vil_mm.runs.protocols import use_protocol
from vil_mm.runs.resuming import find_last_checkpoint, refuse_to_overwrite
from vil_mm.runs.screen import is_first_process
from vil_mm.runs.spelling import check_spelling
from vil_mm.runs.tasks import find_task
from vil_mm.runs.validation_checks import check_normalisation, check_save_best
from vil_mm.runs.windows import use_tiles, use_tta


def prepare_training(
    cfg: Config,
    *,
    resume: bool = False,
    amp: str | None = None,
    auto_scale_lr: bool = False,
    validate: bool = True,
) -> None:
    """Prepare a config for training, in place.

    Args:
        cfg: The result of :func:`read_config`.
        resume: Continue from the last checkpoint in the work dir, see
            :func:`find_last_checkpoint`; if there is none, start as the config says.
        amp: Mixed precision: 'float16' with loss scaling (GPUs only), 'bfloat16', or 'auto' for the
            config's own, else float16 on a GPU and bfloat16 on a CPU.
        auto_scale_lr: Multiply the learning rate by the ratio of images per update to the config's
            ``auto_scale_lr.base_batch_size``.
        validate: Evaluate during training.

    Raises:
        FileNotFoundError: Data or a checkpoint to start from do not exist.
        DatasetError: The data have errors, see :func:`check_samples`.
        ValueError: The config only evaluates, options contradict each other or the data,
            mmdetection is missing, a checkpoint is invalid, a new run would overwrite checkpoints,
            there is no base batch size, or ``amp`` does not support the optimizer wrapper or the
            device.
    """
    check_trains(cfg)
    use_log_backends(cfg)
    task = find_task(cfg)
    task.prepare(cfg, 'val')
    if not validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.get('default_hooks', {}).get('checkpoint', {}).pop('save_best', None)
    if amp:
        use_mixed_precision(cfg.optim_wrapper, amp)
    if auto_scale_lr:
        _scale_learning_rate(cfg)
    check_spelling(cfg)
    check_lengths(cfg)
    settle_loaders(cfg, 'train', 'val')
    check_data(cfg, 'train', 'val')
    check_normalisation(cfg)
    check_save_best(cfg)
    task.check(cfg, 'train', 'val')
    _resume(cfg, resume=resume or cfg.get('resume', False))
    if cfg.get('load_from') and not _is_sharded(cfg.load_from, cfg):
        check_checkpoint(cfg.load_from)
    check_pretrained(cfg.model)
    if cfg.get('resume') and 'runner_type' not in cfg:  # a strategy's parameters may be pieces
        _require_weights(cfg)
    check_samples(cfg, 'train', 'val')


def prepare_testing(
    cfg: Config,
    checkpoint: str,
    *,
    out: str | None = None,
    show_dir: str | None = None,
    show: bool = False,
    wait_time: float = 0.0,
    protocol: str | None = None,
    tta: bool = False,
    tiled: bool = False,
) -> None:
    """Prepare a config for testing a checkpoint, in place.

    Args:
        cfg: The result of :func:`read_config`.
        checkpoint: Weights of the whole model.
        out: Folder for predictions: label maps (PNG) of a segmentor, ``predictions.npz`` of a
            classifier (see ``DumpClassPredictions``), ``predictions.bbox.json`` and
            ``predictions.segm.json`` of a detector (COCO's results).
        show_dir: Folder for pictures, ``<image name>.png``: input, ground truth and prediction side
            by side; for a classifier, the image with its true and predicted class.
        show: Show pictures in a window.
        wait_time: Seconds to show each picture; 0 waits for a key.
        protocol: One of the config's ``protocols``; None for 'official', or for the config's own
            test pipeline if it has no protocols.
        tta: Test-time augmentation with the ``tta_pipeline`` and ``tta_model`` of the protocol or
            the config.
        tiled: Predict in the windows of ``model.test_cfg``, keeping logits for a band of rows only,
            see ``TiledEncoderDecoder``.

    Raises:
        FileNotFoundError: Data or checkpoint do not exist.
        DatasetError: The data have errors, see :func:`check_samples`.
        ValueError: The checkpoint is invalid, mmdetection is missing, or the config lacks the
            protocol, a ``tta_pipeline`` or windows, or asks for tiles and TTA together.
    """
    if Path(checkpoint).is_dir():
        raise ValueError(
            f'{checkpoint} is a folder, as written by strategies that shard weights: name a file '
            'of the whole model (for DeepSpeed, zero_to_fp32.py in the work dir makes one)'
        )
    if 'backbone' not in (cfg.get('model') or {}):
        raise ValueError(f'{cfg.filename}: no model; name a config of a whole model')
    check_checkpoint(checkpoint)
    cfg.pop('runner_type', None)  # strategies are for training
    task = find_task(cfg)
    task.prepare(cfg, 'test')
    check_spelling(cfg)
    settle_loaders(cfg, 'test')
    check_data(cfg, 'test')
    check_normalisation(cfg)
    cfg.load_from = checkpoint
    cfg.resume = False
    cfg.model.backbone.init_cfg = None  # the checkpoint holds every weight
    _require_weights(cfg)
    use_protocol(cfg, protocol, tta=tta)
    if tiled:
        use_tiles(cfg)
    if out:
        task.write_predictions(cfg, out)
    if show_dir or show:
        task.draw_predictions(cfg, show_dir, show=show, wait_time=wait_time)
    if tta:
        use_tta(cfg)
    check_samples(cfg, 'test')


def _resume(cfg: Config, *, resume: bool) -> None:
    """Name the checkpoint to resume from, if there is one; fail if a new run would overwrite it."""
    if not resume:
        refuse_to_overwrite(cfg)
        return
    last, note = find_last_checkpoint(cfg)
    if note and is_first_process(cfg):
        print(f'warning: {note}', file=sys.stderr)
    if last:  # otherwise mmengine would resume from the config's load_from
        cfg.load_from, cfg.resume = last, True
        cfg.model.backbone.init_cfg = None  # the checkpoint holds every weight


def _is_sharded(checkpoint: str, cfg: Config) -> bool:
    """Whether a checkpoint is a folder, as a strategy such as DeepSpeed's writes and reads."""
    return 'runner_type' in cfg and Path(checkpoint).is_dir()


def _scale_learning_rate(cfg: Config) -> None:
    if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise ArgumentError('the config has no auto_scale_lr.base_batch_size', auto_scale_lr=True)
    cfg.auto_scale_lr.enable = True
    # mmengine counts images per step, although an update may accumulate several steps
    cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get('accumulative_counts', 1)


def _require_weights(cfg: Config) -> None:
    """Replace any ``RequireWeightsHook`` with one for a whole model."""
    hooks = [hook for hook in cfg.get('custom_hooks', []) if hook['type'] != 'RequireWeightsHook']
    cfg.custom_hooks = [*hooks, {'type': 'RequireWeightsHook', 'prefix': ''}]
