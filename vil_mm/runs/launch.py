"""From a config that was read to one that is ready to run, or a clear error."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from vil_mm.errors import ArgumentError
from vil_mm.runs.checks import check_checkpoint, check_data, check_pretrained, check_trains
from vil_mm.runs.data import check_samples
from vil_mm.runs.loaders import check_lengths, settle_loaders
from vil_mm.runs.log_backends import use_log_backends
from vil_mm.runs.precision import use_mixed_precision
from vil_mm.runs.protocols import use_protocol
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
    """Set a config up for training, in place.

    Args:
        cfg: What :func:`read_config` returned.
        resume: Go on from the last checkpoint in the work dir; where there is none yet, start as
            the config says.
        amp: Mixed precision: 'float16' with loss scaling (GPUs only), 'bfloat16', or 'auto' for
            what the config has, else float16 on a GPU and bfloat16 on a CPU.
        auto_scale_lr: Multiply the learning rate by the images of an update over the config's
            ``auto_scale_lr.base_batch_size``.
        validate: Evaluate while training.

    Raises:
        FileNotFoundError: Data or a checkpoint to start from are not there.
        DatasetError: Something is wrong with the data, see :func:`check_samples`.
        ValueError: The config only evaluates, options contradict each other or the data, a
            detector lacks mmdetection, a checkpoint is no checkpoint, there is no batch size to
            scale the learning rate by, or ``amp`` meets another optimizer wrapper or, with
            float16, a CPU.
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
    resume = resume or cfg.get('resume', False)
    last = find_latest_checkpoint(cfg.work_dir) if resume else None
    if last:  # mmengine would resume from the config's load_from instead, if it names one
        cfg.load_from, cfg.resume = last, True
        cfg.model.backbone.init_cfg = None  # the checkpoint holds every weight
    if cfg.get('load_from') and not _is_in_pieces(cfg.load_from, cfg):
        check_checkpoint(cfg.load_from)
    check_pretrained(cfg.model)
    if cfg.get('resume') and 'runner_type' not in cfg:  # a strategy's parameters may be pieces
        _require_weights(cfg, prefix='')
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
    """Set a config up for evaluating a checkpoint on its test data, in place.

    Args:
        cfg: What :func:`read_config` returned.
        checkpoint: Weights of the whole model.
        out: Folder for predicted label maps (PNG); of a classifier, for ``predictions.pkl``,
            mmpretrain's list of predicted samples; of a detector, for COCO's lists of results,
            ``predictions.bbox.json`` and ``predictions.segm.json``.
        show_dir: Folder for pictures, ``<image name>.png``: input, ground truth and prediction side
            by side; of a classifier, the image with its true and its predicted class.
        show: Show pictures in a window, of all tasks.
        wait_time: Seconds for which each is shown; 0: until a key is pressed.
        protocol: Which of the config's ``protocols`` to test by; None for 'official', or for the
            config's own test pipeline where it has no protocols.
        tta: Test-time augmentation by the ``tta_pipeline`` and ``tta_model`` of the protocol or
            the config.
        tiled: Predict by windows whose logits are held for a band of rows only, see
            ``TiledEncoderDecoder``; the windows are those of ``model.test_cfg``.

    Raises:
        FileNotFoundError: Data or checkpoint are not there.
        DatasetError: Something is wrong with the data, see :func:`check_samples`.
        ValueError: The file is no checkpoint, a detector lacks mmdetection, or the config lacks
            the protocol or a ``tta_pipeline``, has no windows to tile with, or asks for tiles and
            TTA together.
    """
    if Path(checkpoint).is_dir():
        raise ValueError(
            f'{checkpoint} is a folder, as strategies write that keep weights in pieces: name one '
            'file of the whole model (of DeepSpeed: what zero_to_fp32.py in the work dir makes)'
        )
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
    _require_weights(cfg, prefix='')
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


def _is_in_pieces(checkpoint: str, cfg: Config) -> bool:
    """Whether it is a folder that a strategy such as DeepSpeed's wrote and reads."""
    return 'runner_type' in cfg and Path(checkpoint).is_dir()


def _scale_learning_rate(cfg: Config) -> None:
    if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise ArgumentError('the config has no auto_scale_lr.base_batch_size', auto_scale_lr=True)
    cfg.auto_scale_lr.enable = True
    # mmengine counts the images of a step, not those of the steps that make up one update
    cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get('accumulative_counts', 1)


def _require_weights(cfg: Config, prefix: str) -> None:
    """Replace any RequireWeightsHook by one with this prefix."""
    hooks = [hook for hook in cfg.get('custom_hooks', []) if hook['type'] != 'RequireWeightsHook']
    cfg.custom_hooks = [*hooks, {'type': 'RequireWeightsHook', 'prefix': prefix}]
