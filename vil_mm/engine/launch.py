"""From a config and a command line's options to a config that is ready to run, or a clear error."""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib import pyplot
from mmengine.config import Config, ConfigDict
from mmengine.runner import find_latest_checkpoint

from vil_mm.engine.checks import (
    check_checkpoint,
    check_classifier,
    check_data,
    check_pretrained,
    check_trains,
)
from vil_mm.engine.data import check_samples
from vil_mm.engine.detection import (
    check_detection,
    is_detection,
    use_own_annotations,
    write_detections,
)
from vil_mm.engine.loaders import check_lengths, settle_loaders
from vil_mm.engine.logs import use_log_backends
from vil_mm.engine.overrides import lost_data_root, merge_overrides
from vil_mm.engine.precision import use_mixed_precision
from vil_mm.engine.protocols import use_protocol
from vil_mm.engine.segmentor_checks import check_segmentor
from vil_mm.engine.spelling import check_spelling
from vil_mm.engine.validation_checks import check_normalisation, check_save_best
from vil_mm.zoo import find_config, place_of


def read_config(
    path: str | Path,
    *,
    work_dir: str | None = None,
    launcher: str = 'none',
    options: dict | None = None,
) -> Config:
    """Read a config file, merge overrides and settle the folder that the run writes to.

    Args:
        path: The config file, or the name of a model of the zoo.
        work_dir: Folder to write to; by default the config's own or ``work_dirs/<config name>``.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        options: Overrides, as ``{'optim_wrapper.optimizer.lr': 1e-4}``.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: It is no config, no model has that name, or an override does not fit it.
    """
    path = str(find_config(path))
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program, which may fail in any way
        said = _first_line(error) + _place_of_base(error)
        raise ValueError(f'{path} cannot be read as a config: {said}') from error
    if lost := lost_data_root(cfg):
        print(f'warning: {path}: {lost}', file=sys.stderr)
    cfg.launcher = launcher
    try:
        merge_overrides(cfg, options or {})
    except ValueError as error:
        raise ValueError(f'an override does not fit {path}: {error}') from error
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f'an override does not fit {path}: {_first_line(error)}') from error
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(path).stem))
    return cfg


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
    check_classifier(cfg)
    use_log_backends(cfg)
    if is_detection(cfg):
        check_detection(cfg)
        use_own_annotations(cfg, 'val')
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
    check_segmentor(cfg, 'train', 'val')
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
    if is_detection(cfg):
        check_detection(cfg)
        use_own_annotations(cfg, 'test')
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
        _enable_tiles(cfg)
    if out:
        _write_predictions(cfg, out)
    if show_dir or show:
        _draw_predictions(cfg, show_dir, show, wait_time)
    if tta:
        _enable_tta(cfg)
    check_samples(cfg, 'test')


def _place_of_base(error: Exception) -> str:
    """Where a ``_base_`` is now, if it is a config of the package under an old path."""
    missing = error.filename if isinstance(error, FileNotFoundError) else None
    place = place_of(Path(missing)) if missing else ''
    return f'; {place}' if place else ''


def _first_line(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'.strip().splitlines()[0]


def _is_in_pieces(checkpoint: str, cfg: Config) -> bool:
    """Whether it is a folder that a strategy such as DeepSpeed's wrote and reads."""
    return 'runner_type' in cfg and Path(checkpoint).is_dir()


def _scale_learning_rate(cfg: Config) -> None:
    if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise ValueError('--auto-scale-lr: the config has no auto_scale_lr.base_batch_size')
    cfg.auto_scale_lr.enable = True
    # mmengine counts the images of a step, not those of the steps that make up one update
    cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get('accumulative_counts', 1)


def _write_predictions(cfg: Config, folder: str) -> None:
    if is_detection(cfg):
        write_detections(cfg, folder)
    elif cfg.get('default_scope') == 'mmpretrain':
        dump = {'type': 'DumpResults', 'out_file_path': str(Path(folder, 'predictions.pkl'))}
        evaluator = cfg.test_evaluator
        cfg.test_evaluator = [*([evaluator] if isinstance(evaluator, dict) else evaluator), dump]
    elif isinstance(cfg.test_evaluator, dict):
        cfg.test_evaluator.update(output_dir=folder, keep_results=True)
    else:
        raise ValueError('--out works with one test_evaluator, not with a list of them')


def _draw_predictions(cfg: Config, folder: str | None, show: bool, wait_time: float) -> None:
    if show and pyplot.get_backend().lower() == 'agg':  # where no window can be opened
        raise ValueError('--show needs a display, and there is none: write files by --show-dir DIR')
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    options = {'out_dir': folder, 'show': show, 'wait_time': wait_time}
    if 'score_thr' in hooks.get('visualization', {}):
        options['score_thr'] = hooks.visualization.score_thr
    hooks.visualization = ConfigDict(type='PictureHook', **options)


def _enable_tiles(cfg: Config) -> None:
    model, test_cfg = cfg.model, cfg.model.get('test_cfg') or {}
    if model.type.removeprefix('mmseg.') not in ('EncoderDecoder', 'TiledEncoderDecoder'):
        raise ValueError(f'--tiled works with the segmentor EncoderDecoder, not with {model.type}')
    if 'crop_size' not in test_cfg or 'stride' not in test_cfg:
        height, width = crop = _training_size(cfg)
        y, x = (max(1, round(2 * side / 3)) for side in crop)
        raise ValueError(
            f'--tiled: model.test_cfg ({dict(test_cfg)}) has no crop_size and stride of windows; '
            f'those of the size of the training would be --cfg-options '
            f'model.test_cfg.crop_size={height},{width} model.test_cfg.stride={y},{x}'
        )
    model.type, test_cfg.mode = 'TiledEncoderDecoder', 'tiled'


def _training_size(cfg: Config) -> tuple[int, int]:
    """Height and width of the images that a segmentor was trained on, as far as its config says."""
    dataset = (cfg.get('train_dataloader') or {}).get('dataset', {})
    crops = [x.crop_size for x in dataset.get('pipeline', []) if x.get('type') == 'RandomCrop']
    padded = (cfg.model.get('data_preprocessor') or {}).get('size')
    size = next((x for x in (*crops, padded, cfg.model.backbone.get('img_size')) if x), 512)
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _enable_tta(cfg: Config) -> None:
    if 'tta_pipeline' not in cfg:
        raise ValueError('--tta: the config has no tta_pipeline')
    if (cfg.model.get('test_cfg') or {}).get('mode') == 'tiled':
        raise ValueError(
            "--tta adds up logits of passes, which model.test_cfg.mode='tiled' does not keep; "
            "use mode='slide'"
        )
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.get('tta_model', {'type': 'SegTTAModel'}), module=cfg.model)


def _require_weights(cfg: Config, prefix: str) -> None:
    """Put a RequireWeightsHook with this prefix in the place of any other."""
    hooks = [hook for hook in cfg.get('custom_hooks', []) if hook['type'] != 'RequireWeightsHook']
    cfg.custom_hooks = [*hooks, {'type': 'RequireWeightsHook', 'prefix': prefix}]
