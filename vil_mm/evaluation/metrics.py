"""Accuracy metrics that mmpretrain lacks: on a subset of classes, and on corrupted images."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from mmpretrain.evaluation import Accuracy


@METRICS.register_module()
class SubsetAccuracy(Accuracy):
    """Top-k accuracy in percent among the classes of the data set only.

    ImageNet-A and -R cover 200 of the 1000 classes, and by convention the scores of other classes
    are ignored. The data set lists its classes in ``metainfo['class_indices']``, as
    ``ImageNetFolders`` does.

    Args:
        topk: As in mmpretrain's ``Accuracy``.
        collect_device, prefix: As in mmengine's ``BaseMetric``.
    """

    def __init__(
        self,
        topk: int | Sequence[int] = (1,),
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        # no threshold: among the remaining classes even the best score may be rounded to zero
        super().__init__(topk=topk, thrs=None, collect_device=collect_device, prefix=prefix)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Collect the scores of the set's classes, and the label among them, for every sample.

        Raises:
            ValueError: The data set does not list its classes, samples have no scores, or there is
                no score for a class or a label of another class.
        """
        indices = self._class_indices()
        super().process(data_batch, [_restrict(sample, indices) for sample in data_samples])

    def _class_indices(self) -> list[int]:
        indices = (self.dataset_meta or {}).get('class_indices')
        if not indices:
            raise ValueError(
                "SubsetAccuracy needs a data set with metainfo['class_indices'], such as "
                'ImageNetFolders; use Accuracy where every class counts'
            )
        return list(indices)


@METRICS.register_module()
class CorruptionAccuracy(BaseMetric):
    """Top-1 accuracy in percent on ImageNet-C, per corruption and on average.

    The severities of a corruption have equal weight. ``top1`` is the mean over all pairs of
    corruption and severity (not the benchmark's "mCE", which is relative to AlexNet).

    Args:
        collect_device, prefix: As in mmengine's ``BaseMetric``.
    """

    default_prefix = 'accuracy'

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Collect corruption, severity and correctness of every sample.

        Raises:
            ValueError: Samples lack their corruption or severity.
        """
        for sample in data_samples:
            if 'corruption' not in sample or 'severity' not in sample:
                raise ValueError(
                    'CorruptionAccuracy needs samples with corruption and severity: read them '
                    "with ImageNetC and dict(type='PackInputs', meta_keys=('corruption', "
                    "'severity'))"
                )
            correct = int(sample['pred_score'].argmax()) == int(sample['gt_label'])
            # share one string per name: there are millions of results
            corruption = sys.intern(sample['corruption'])
            self.results.append((corruption, int(sample['severity']), correct))

    def compute_metrics(self, results: list[tuple[str, int, bool]]) -> dict[str, float]:
        """Average the results of all processes; keys are ``top1`` and the corruptions' names."""
        pairs = defaultdict(list)
        for corruption, severity, correct in results:
            pairs[corruption, severity].append(correct)
        accuracies = {pair: 100 * _mean(correct) for pair, correct in pairs.items()}
        by_name = defaultdict(list)
        for (corruption, _), accuracy in accuracies.items():
            by_name[corruption].append(accuracy)
        means = {name: _mean(values) for name, values in by_name.items()}
        return {'top1': _mean(list(accuracies.values())), **means}


def _restrict(sample: dict, indices: list[int]) -> dict:
    """A sample with only the scores of some classes, and its label as an index among them."""
    if 'pred_score' not in sample:
        raise ValueError('SubsetAccuracy needs predictions with pred_score, got none')
    scores, label = sample['pred_score'].cpu(), int(sample['gt_label'])
    if max(indices) >= len(scores):
        raise ValueError(
            f'the data set has class {max(indices)}, the model only {len(scores)} scores: '
            'SubsetAccuracy is for a classifier of all 1000 classes'
        )
    if label not in indices:
        raise ValueError(f"label {label} is not in the data set's metainfo['class_indices']")
    return dict(pred_score=scores[indices], gt_label=torch.tensor([indices.index(label)]))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
