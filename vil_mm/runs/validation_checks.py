"""Options of validation and of the input that would end a run at its first use of them."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config, ConfigDict
from mmengine.hooks import CheckpointHook

IOU_METRICS = {
    'mIoU': ('mIoU', 'mAcc'),
    'mDice': ('mDice', 'mAcc'),
    'mFscore': ('mFscore', 'mPrecision', 'mRecall'),
}


def check_save_best(cfg: Config) -> None:
    """Fail if the best checkpoint is chosen by a metric that validation does not give.

    Metrics of other packages than mmseg's ``IoUMetric`` and mmpretrain's ``Accuracy`` pass: their
    names are not known before they are computed.

    Raises:
        ValueError: Names the metric and those that there are.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    given = _metrics(cfg.get('val_evaluator')) if cfg.get('val_cfg') else None
    wanted = hook.get('save_best')
    if not wanted or given is None or hook.get('type') != 'CheckpointHook':
        return
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(wanted, list | tuple):
        raise ValueError(
            f'default_hooks.checkpoint.save_best={wanted!r}: expected the name of a metric, such '
            f'as {given[-1]!r}, or a list of names'
        )
    if hook.get('rule') not in (None, 'greater', 'less') and isinstance(hook.get('rule'), str):
        raise ValueError(
            f'default_hooks.checkpoint.rule={hook.rule!r}: expected greater or less: which of two '
            'values is the better'
        )
    missing = [name for name in wanted if name not in (*given, 'auto')]
    if missing:
        raise ValueError(
            f'default_hooks.checkpoint.save_best={missing[0]!r}, but val_evaluator gives '
            f'{", ".join(given)}: name one of them, or add the metric to val_evaluator'
        )
    try:
        CheckpointHook(**{key: value for key, value in hook.items() if key != 'type'})
    except ValueError as error:
        raise ValueError(
            f'default_hooks.checkpoint.save_best={hook.save_best!r}: whether more is better is not '
            "known by this name; add default_hooks.checkpoint.rule='greater' (or 'less')"
        ) from error


def check_windows(model: ConfigDict, tiled: bool) -> None:
    """Fail on what mmseg would assert at the first validation of a segmentor.

    Args:
        model: Of the config.
        tiled: Whether it has the mode of that name.

    Raises:
        ValueError: Names the option of ``model.test_cfg``, what it has to be and what to do.
    """
    modes = ('whole', 'slide', *(['tiled'] if tiled else []))
    test_cfg = model.get('test_cfg') or {}
    mode = test_cfg.get('mode')
    if mode not in modes:
        raise ValueError(
            f'model.test_cfg.mode={mode!r}, expected one of {modes} with type={model.type!r}'
        )
    missing = [key for key in ('crop_size', 'stride') if key not in test_cfg]
    if mode != 'whole' and missing:
        raise ValueError(
            f'model.test_cfg has mode={mode!r}, but no {" and ".join(missing)} of windows: give '
            'crop_size and stride, or set model.test_cfg.mode=whole'
        )
    if mode != 'whole':
        _check_sides(test_cfg)


def _check_sides(test_cfg: ConfigDict) -> None:
    for key in ('crop_size', 'stride'):
        sides = test_cfg[key]
        pair = isinstance(sides, list | tuple) and len(sides) == 2
        if not pair or not all(isinstance(side, int) and side > 0 for side in sides):
            raise ValueError(
                f'model.test_cfg.{key}={sides!r}: expected rows and columns in pixels, such as '
                '(512, 512)'
            )
    if any(step > side for step, side in zip(test_cfg.stride, test_cfg.crop_size, strict=True)):
        raise ValueError(
            f'model.test_cfg.stride={test_cfg.stride} is larger than crop_size='
            f'{test_cfg.crop_size}, which leaves pixels between the windows: make it smaller'
        )


def check_normalisation(cfg: Config) -> None:
    """Fail if mean and std do not have one number for each channel of the images.

    Raises:
        ValueError: Names the lengths.
    """
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    lengths = {key: len(preprocessor.get(key) or ()) for key in ('mean', 'std')}
    backbone = cfg.model.get('backbone') or {}
    channels = backbone.get('in_channels', 3 if backbone.get('type') == 'VisionLSTM' else None)
    if len(set(lengths.values()) - {1}) > 1:
        raise ValueError(
            f'data_preprocessor has {lengths["mean"]} numbers of mean and {lengths["std"]} of std: '
            'give as many of each'
        )
    for key, length in lengths.items():
        if channels is not None and length not in (0, 1, channels):
            raise ValueError(
                f'data_preprocessor.{key} has {length} numbers, but model.backbone.in_channels='
                f'{channels}: give one for each channel'
            )
    if 0 in (preprocessor.get('std') or ()):
        raise ValueError('data_preprocessor.std contains 0, but images are divided by std')


def _metrics(evaluator: ConfigDict | Sequence[ConfigDict] | None) -> list[str] | None:
    """Names of all that an evaluator gives; None if a part of it is not known.

    Raises:
        ValueError: An ``IoUMetric`` is asked for what it has not.
    """
    if not evaluator:
        return None
    found = []
    for metric in [evaluator] if isinstance(evaluator, dict) else evaluator:
        names = _names(metric)
        if names is None:
            return None
        found += names
    return found


def _names(metric: ConfigDict) -> list[str] | None:
    kind, prefix = str(metric.get('type')).split('.')[-1], metric.get('prefix')
    if kind == 'IoUMetric' and not metric.get('format_only'):
        asked = metric.get('iou_metrics', ['mIoU'])
        names = ['aAcc', *_iou_names([asked] if isinstance(asked, str) else asked)]
    elif kind in ('Accuracy', 'SubsetAccuracy') and 'thrs' not in metric:
        best, prefix = metric.get('topk', (1,)), prefix or 'accuracy'
        names = [f'top{k}' for k in ([best] if isinstance(best, int) else best)]
    else:
        return None
    return [f'{prefix}/{name}' if prefix else name for name in names]


def _iou_names(asked: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in IOU_METRICS:
            raise ValueError(
                f'val_evaluator.iou_metrics has {name!r}, expected some of {", ".join(IOU_METRICS)}'
            )
    return list(dict.fromkeys(name for metric in asked for name in IOU_METRICS[metric]))
