"""Write a classifier's predictions in a format that cannot hold code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

from vil_mm.files import atomic_write


@METRICS.register_module()
class DumpClassPredictions(BaseMetric):
    """Write a classifier's predictions of N images to one ``.npz`` file of plain arrays.

    ``img_path`` (N,); ``gt_label`` and ``pred_label``, (N,) or, with several labels for an image,
    (N, L), filled up with -1; ``pred_score`` (N, classes), float32, if there are scores.

    Args:
        out_file: The file.
        collect_device: As in mmengine's ``BaseMetric``.
    """

    def __init__(self, out_file: str, collect_device: str = 'cpu') -> None:
        super().__init__(collect_device=collect_device)
        self.out_file = out_file

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            arrays = {
                key: torch.as_tensor(sample[key]).cpu().numpy().reshape(-1)
                for key in ('gt_label', 'pred_label', 'pred_score')
                if key in sample
            }
            self.results.append({'img_path': str(sample.get('img_path', '')), **arrays})

    def compute_metrics(self, results: list[dict]) -> dict:
        arrays = {'img_path': np.array([x['img_path'] for x in results], dtype=np.str_)}
        for key in ('gt_label', 'pred_label'):
            if all(key in x for x in results):
                arrays[key] = _pad([x[key] for x in results])
        if all('pred_score' in x for x in results):
            arrays['pred_score'] = np.stack([x['pred_score'] for x in results]).astype(np.float32)
        with atomic_write(Path(self.out_file)) as unfinished:
            np.savez(unfinished, **arrays)
        print_log(f'Predictions written to {self.out_file}', logger='current')
        return {}


def _pad(labels: list[np.ndarray]) -> np.ndarray:
    """(N,) if every image has one label, else (N, L), filled up with -1."""
    padded = np.full((len(labels), max(map(len, labels))), -1, np.int64)
    for row, own in zip(padded, labels, strict=True):
        row[: len(own)] = own
    return padded[:, 0] if padded.shape[1] == 1 else padded
