"""Check options of validation and normalisation that would otherwise fail late in a run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from mmengine.config import Config, ConfigDict
from mmengine.hooks import CheckpointHook

from vil_mm.runs.nested import as_list

IOU_METRICS = {
    'mIoU': ('mIoU', 'mAcc'),
    'mDice': ('mDice', 'mAcc'),
    'mFscore': ('mFscore', 'mPrecision', 'mRecall'),
}


def check_save_best(cfg: Config) -> None:
    """Fail if ``save_best`` names a metric that validation does not compute.

    Only the names of mmseg's ``IoUMetric`` and mmpretrain's ``Accuracy`` are known beforehand;
    other metrics pass.

    Raises:
        ValueError: Names the metric and the available ones.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    given = _list_metrics(cfg.get('val_evaluator')) if cfg.get('val_cfg') else None
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
            f"default_hooks.checkpoint.rule={hook.rule!r}: expected 'greater' or 'less', whichever "
            'is better'
        )
    missing = [name for name in wanted if name not in (*given, 'auto')]
    if missing:
        raise ValueError(
            f'default_hooks.checkpoint.save_best={missing[0]!r}, but val_evaluator computes '
            f'{", ".join(given)}: name one of them, or add the metric to val_evaluator'
        )
    try:
        CheckpointHook(**{key: value for key, value in hook.items() if key != 'type'})
    except ValueError as error:
        raise ValueError(
            f'default_hooks.checkpoint.save_best={hook.save_best!r}: mmengine cannot tell from the '
            "name whether more is better; add default_hooks.checkpoint.rule='greater' (or 'less')"
        ) from error


def check_windows(model: ConfigDict, tiled: bool) -> None:
    """Fail early on window options that mmseg rejects at the first validation.

    Args:
        model: The config's model.
        tiled: Whether the model supports ``mode='tiled'``.

    Raises:
        ValueError: Names the option of ``model.test_cfg``, the expected value and what to do.
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
            f'model.test_cfg has mode={mode!r}, but no {" and ".join(missing)}: set crop_size and '
            'stride, or model.test_cfg.mode=whole'
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
            f'{test_cfg.crop_size}, which leaves gaps between the windows: make it smaller'
        )


def check_normalisation(cfg: Config) -> None:
    """Fail unless mean and std have one number per image channel.

    Raises:
        ValueError: Names the lengths.
    """
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    lengths = {key: len(preprocessor.get(key) or ()) for key in ('mean', 'std')}
    backbone = cfg.model.get('backbone') or {}
    channels = backbone.get('in_channels', 3 if backbone.get('type') == 'VisionLSTM' else None)
    if len(set(lengths.values()) - {1}) > 1:
        raise ValueError(
            f'data_preprocessor.mean has {lengths["mean"]} numbers, but std has '
            f'{lengths["std"]}: give both as many'
        )
    for key, length in lengths.items():
        if channels is not None and length not in (0, 1, channels):
            raise ValueError(
                f'data_preprocessor.{key} has {length} numbers, but model.backbone.in_channels='
                f'{channels}: give one number per channel'
            )
    if 0 in (preprocessor.get('std') or ()):
        raise ValueError('data_preprocessor.std contains 0, but images are divided by std')


def _list_metrics(evaluator: ConfigDict | Sequence[ConfigDict] | None) -> list[str] | None:
    """Names of all values that an evaluator computes; None if some are unknown.

    Raises:
        ValueError: An ``IoUMetric`` does not support a metric.
    """
    names = [_list_values(metric) for metric in as_list(evaluator)]
    return [*chain(*names)] if names and None not in names else None


def _list_values(metric: ConfigDict) -> list[str] | None:
    kind, prefix = str(metric.get('type')).split('.')[-1], metric.get('prefix')
    if kind == 'IoUMetric' and not metric.get('format_only'):
        asked = metric.get('iou_metrics', ['mIoU'])
        names = ['aAcc', *_list_iou_values([asked] if isinstance(asked, str) else asked)]
    elif kind in ('Accuracy', 'SubsetAccuracy') and 'thrs' not in metric:
        best, prefix = metric.get('topk', (1,)), prefix or 'accuracy'
        names = [f'top{k}' for k in ([best] if isinstance(best, int) else best)]
    else:
        return None
    return [f'{prefix}/{name}' if prefix else name for name in names]


def _list_iou_values(asked: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in IOU_METRICS:
            raise ValueError(
                f'val_evaluator.iou_metrics has {name!r}, expected some of {", ".join(IOU_METRICS)}'
            )
    return list(dict.fromkeys(name for metric in asked for name in IOU_METRICS[metric]))
