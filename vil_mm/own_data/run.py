"""Train a written config, and compare the model with guesses that ignore the image."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric

from vil_mm.datasets.label_maps import IGNORE_INDEX
from vil_mm.measure.priors import Score, prior_scores
from vil_mm.runs.build import build_runner
from vil_mm.runs.distributed import prepare_processes
from vil_mm.runs.finished import describe_finished
from vil_mm.runs.launch import prepare_testing, prepare_training
from vil_mm.runs.reading import read_config
from vil_mm.runs.work_dir import refuse_work_dir_in_use

POSITION = 'position prior'
NAMES = {'most frequent class': 'always the most frequent class', POSITION: 'by position alone'}


@dataclass(frozen=True)
class Result:
    """Scores of a trained model on the validation photos, in percent.

    Attributes:
        classes: Names.
        iou: ``(K,)``, one per class; NaN for a class in neither masks nor predictions.
        priors: Scores of guesses that ignore the photo, by name.
        checkpoint, pictures: Their paths.
    """

    classes: tuple[str, ...]
    iou: np.ndarray
    priors: dict[str, Score]
    checkpoint: Path
    pictures: Path

    @property
    def mIoU(self) -> float:
        return float(np.nanmean(self.iou))

    def lines(self) -> list[str]:
        """A table, and a warning if the model is no better than a guess."""
        rows = [(NAMES[name], score.mIoU) for name, score in self.priors.items()]
        rows += [('this model', self.mIoU)]
        rows += [(f'  {name}', iou) for name, iou in zip(self.classes, self.iou, strict=True)]
        width = max(len(name) for name, _ in rows) + 2
        lines = [f'{"":<{width}}{"IoU":>6}']
        lines += [f'{n:<{width}}{"-" if np.isnan(x) else f"{x:.1f}":>6}' for n, x in rows]
        if self.mIoU <= self.priors[POSITION].mIoU:
            lines.append(
                'The model is no better than guessing by position: train longer (max_iters), '
                'start from a trained segmentor, or label more photos'
            )
        return lines


class CollectAreas(Hook):
    """Sums the areas that IoU needs over a test, like mmseg's ``IoUMetric``."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.totals: list = [0, 0, 0, 0]

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=()) -> None:
        for sample in outputs:
            pred, label = (
                x.data.squeeze(0).cpu() for x in (sample.pred_sem_seg, sample.gt_sem_seg)
            )
            areas = IoUMetric.intersect_and_union(pred, label, self.num_classes, IGNORE_INDEX)
            self.totals = [total + area for total, area in zip(self.totals, areas, strict=True)]

    def iou(self) -> np.ndarray:
        return 100 * IoUMetric.total_area_to_metrics(*self.totals)['IoU']


def prepare_to_train(config: Path) -> Config | None:
    """Read a config and prepare it for ``build_runner``, as ``tools/train.py --resume`` does.

    Returns:
        None if the training is already finished.

    Raises:
        OSError, ValueError: As ``prepare_training``.
    """
    cfg = read_config(str(config))
    refuse_work_dir_in_use(cfg)
    if describe_finished(cfg, resume=True):
        return None
    prepare_training(cfg, resume=True)
    prepare_processes(cfg)
    return cfg


def evaluate(config: Path) -> Result:
    """Test the best checkpoint of a config's run, draw the validation photos, score the priors.

    Raises:
        FileNotFoundError: The run has no checkpoint.
    """
    cfg = read_config(str(config))
    checkpoint = find_best_checkpoint(_relative_to_here(Path(cfg.work_dir)))
    priors = prior_scores(copy.deepcopy(cfg))
    pictures = config.parent / 'pictures'
    iou = _test(cfg, checkpoint, pictures)
    drawn = max(pictures.rglob('*.png'), key=lambda path: path.stat().st_mtime, default=None)
    return Result(
        classes=tuple(cfg.classes),
        iou=iou,
        priors=priors,
        checkpoint=checkpoint,
        pictures=drawn.parent if drawn else pictures,
    )


def find_best_checkpoint(run: Path) -> Path:
    """The checkpoint with the best validation score, or else the last one.

    Raises:
        FileNotFoundError: The run has no checkpoint.
    """
    found = sorted(run.glob('best_mIoU_iter_*.pth')) or sorted(run.glob('iter_*.pth'))
    if not found:
        raise FileNotFoundError(f'no checkpoint in {run}: training stopped before its first one')
    return max(found, key=lambda path: path.stat().st_mtime)


def _relative_to_here(path: Path) -> Path:
    """The path relative to the current folder, if it is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _test(cfg: Config, checkpoint: Path, pictures: Path) -> np.ndarray:
    cfg.work_dir = str(Path(cfg.work_dir) / 'test')
    # with the same name, mmengine would reuse the training's visualizer, which draws elsewhere
    cfg.visualizer.name = f'pictures of {checkpoint}'
    prepare_testing(cfg, str(checkpoint), show_dir=str(pictures))
    areas = CollectAreas(len(cfg.classes))
    runner = build_runner(cfg)
    runner.register_hook(areas)
    runner.test()
    return areas.iou()
