"""Check the data of a run before it starts; name the file if reading fails later."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from vil_mm.datasets import DatasetError
from vil_mm.datasets.checks import (
    Expected,
    Part,
    SplitReport,
    check_part,
    check_splits,
    name_files,
)
from vil_mm.errors import named_line
from vil_mm.progress import Progress, no_progress
from vil_mm.runs.checks import check_data
from vil_mm.runs.nested import as_list, unwrap_datasets
from vil_mm.runs.screen import is_first_process
from vil_mm.runs.tasks import find_task, registry_scope


def check_samples(cfg: Config, *splits: str) -> None:
    """Check all file names of a run's data, and the contents of a sample.

    Only the first process checks. Warnings go to standard error.

    Args:
        cfg: The config.
        splits: Some of 'train', 'val' and 'test'; splits that the config lacks are ignored.

    Raises:
        DatasetError: One line per error, with the file, the value and what to do.
    """
    if not is_first_process(cfg):
        return
    reports = inspect_data(cfg, *splits)
    for warning in (line for report in reports for line in report.warnings):
        print(f'warning: {warning}', file=sys.stderr)
    raise_errors(reports)


def raise_errors(reports: Iterable[SplitReport]) -> None:
    """Fail if a report has errors.

    Raises:
        DatasetError: One line per error.
    """
    errors = [line for report in reports for line in report.errors]
    if errors:
        raise DatasetError('\n'.join(errors))


def inspect_data(
    cfg: Config,
    *splits: str,
    whole: bool = False,
    workers: int = 1,
    progress: Progress = no_progress,
) -> list[SplitReport]:
    """Build and check the data sets of a config's data loaders.

    Args:
        cfg: The config.
        splits: Some of 'train', 'val' and 'test'; splits that the config lacks are ignored.
        whole: Read every file, not only a sample.
        workers: Threads that read.
        progress: Called after each file.

    Returns:
        A report per data set, then one per other split on its conflicts with the training set.

    Raises:
        DatasetError: A data set cannot be built.
    """
    expected = find_expectations(cfg)
    parts = {
        split: [Part(dataset, expected) for dataset in _build_datasets(cfg, split)]
        for split in splits
        if cfg.get(f'{split}_dataloader')
    }
    reports = [
        check_part(part, split, whole=whole, workers=workers, progress=progress)
        for split in parts
        for part in parts[split]
    ]
    return [*reports, *(check_splits(parts) if 'KFoldDataset' not in str(cfg) else [])]


def check_whole(
    cfg: Config, workers: int = 1, progress: Progress = no_progress
) -> list[SplitReport]:
    """Read all data of a config; a test set equal to the validation set is read once.

    Raises:
        FileNotFoundError: A folder is missing or empty.
        DatasetError: A data set cannot be built.
        ValueError: The config has no data, or mmdetection is missing.
    """
    find_task(cfg).prepare(cfg)
    splits = [split for split in ('train', 'val', 'test') if cfg.get(f'{split}_dataloader')]
    if not splits:
        raise ValueError(
            f'{cfg.filename}: no data: the config has no train_dataloader, val_dataloader or '
            'test_dataloader'
        )
    if splits[-2:] == ['val', 'test'] and cfg.val_dataloader.dataset == cfg.test_dataloader.dataset:
        splits.remove('test')
    check_data(cfg, *splits)
    return inspect_data(cfg, *splits, whole=True, workers=workers, progress=progress)


def find_expectations(cfg: Config) -> Expected:
    """What a config's model expects of its data."""
    model = cfg.get('model') or ConfigDict()
    head = as_list(model.get('decode_head') or model.get('head') or {})[-1]
    ignore_index = head.get('ignore_index', 255) if 'decode_head' in model else None
    return Expected(head.get('num_classes'), ignore_index, _find_channels(cfg, model))


def _find_channels(cfg: Config, model: ConfigDict) -> int | None:
    backbone = model.get('backbone') or {}
    preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    default = 3 if backbone.get('type') == 'VisionLSTM' else len(preprocessor.get('mean') or ())
    return backbone.get('in_channels') or default or None


def _build_datasets(cfg: Config, split: str) -> Iterator[BaseDataset]:
    """The data sets of a split, without wrappers, with their lists in memory."""
    with registry_scope(cfg):
        for spec in unwrap_datasets(cfg[f'{split}_dataloader'].dataset):
            try:
                dataset = DATASETS.build({**spec, 'lazy_init': True})
                if not isinstance(dataset, BaseDataset):
                    continue
                dataset.serialize_data = False  # it is read only once
                dataset.full_init()
            except DatasetError:
                raise
            except Exception as error:  # of any type: files may be missing or invalid
                raise DatasetError(f'{split} data: {_explain_failure(spec, error)}') from error
            yield dataset


def _explain_failure(spec: ConfigDict, error: Exception) -> str:
    """Why a data set cannot be built and, for known causes, what to do."""
    own = spec.get('metainfo') or {}
    classes, palette = own.get('classes'), own.get('palette')
    if isinstance(classes, str) and not os.path.isfile(classes):
        return f'metainfo.classes={classes!r}: no such file; give a list of names'
    if 'palette does not match classes' in str(error) and classes and palette:
        return (
            f'metainfo has {len(classes)} classes and a palette of {len(palette)} colours: give '
            'each class a colour [red, green, blue]; to replace the classes of a base config, use '
            'metainfo=dict(_delete_=True, classes=...)'
        )
    if isinstance(error, UnicodeDecodeError) and spec.get('ann_file'):
        file = os.path.join(spec.get('data_root') or '', spec.ann_file)
        return f'{file} is not UTF-8 text: save it as UTF-8'
    source = f' from {spec.ann_file}' if spec.get('ann_file') else ''
    return f'{spec.get("type")} cannot be built{source}: {named_line(error)}'


class NameFilesHook(Hook):
    """Make a run's data sets name the file if loading fails, see ``CheckedLoading``."""

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        expected = find_expectations(runner.cfg)
        loops = (runner._train_loop, runner._val_loop, runner._test_loop)
        for loader in (getattr(loop, 'dataloader', None) for loop in loops):
            if loader is not None:
                name_files(loader.dataset, expected.num_classes, expected.ignore_index)
