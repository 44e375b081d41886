"""Accuracies against loops over the samples, in one process and gathered from several."""

from __future__ import annotations

import itertools
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS
from mmpretrain.structures import DataSample

from vil_mm.datasets import CORRUPTIONS
from vil_mm.evaluation import CorruptionAccuracy, SubsetAccuracy

SEVERITIES = (1, 2, 3, 4, 5)
INDICES = (1, 4, 6, 13, 20)


def subset_samples(count: int = 60) -> list[DataSample]:
    """Scores of 30 classes, labels out of five of them."""
    rng = np.random.default_rng(0)
    return [
        DataSample()
        .set_gt_label(int(rng.choice(INDICES)))
        .set_pred_score(torch.tensor(rng.normal(size=30)).softmax(0))
        for _ in range(count)
    ]


def corrupted_samples() -> list[DataSample]:
    """Three corruptions at two severities; another number of images is right in each of the six."""
    samples = []
    for which, corruption in enumerate(('fog', 'snow', 'frost')):
        for severity in (1, 5):
            for number in range(7 if severity == 1 else 4):
                sample = DataSample(metainfo=dict(corruption=corruption, severity=severity))
                right = number <= which + (severity == 5)
                score = torch.eye(10)[3] if right else torch.eye(10)[9]
                samples.append(sample.set_gt_label(3).set_pred_score(score))
    return samples


def evaluate(metric, samples: list[DataSample], **meta) -> dict[str, float]:
    """As a test loop does, in batches of eight."""
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = meta
    for start in range(0, len(samples), 8):
        evaluator.process(samples[start : start + 8])
    return evaluator.evaluate(len(samples))


def best_of_subset(sample: DataSample, count: int) -> list[int]:
    ranked = sorted(INDICES, key=lambda index: -float(sample.pred_score[index]))
    return ranked[:count]


def test_subset_accuracy_ranks_the_classes_of_the_set_only():
    samples = subset_samples()
    found = evaluate(SubsetAccuracy(topk=(1, 3)), samples, class_indices=INDICES)
    for k in (1, 3):
        right = [int(sample.gt_label) in best_of_subset(sample, k) for sample in samples]
        assert found[f'accuracy/top{k}'] == pytest.approx(100 * np.mean(right), abs=1e-4)
    plain = [int(sample.pred_score.argmax()) == int(sample.gt_label) for sample in samples]
    assert found['accuracy/top1'] > 100 * np.mean(plain), 'scores of other classes are in the way'


def test_subset_accuracy_of_every_class_is_plain_accuracy():
    samples = subset_samples()
    found = evaluate(SubsetAccuracy(), samples, class_indices=tuple(range(30)))
    plain = [int(sample.pred_score.argmax()) == int(sample.gt_label) for sample in samples]
    assert found == {'accuracy/top1': pytest.approx(100 * np.mean(plain), abs=1e-4)}


def test_subset_accuracy_where_every_score_of_the_set_is_tiny():
    score = torch.zeros(30).index_fill(0, torch.tensor([2]), 1.0)  # softmax has rounded to zero
    samples = [DataSample().set_gt_label(1).set_pred_score(score)]
    assert evaluate(SubsetAccuracy(), samples, class_indices=(1,)) == {'accuracy/top1': 100}


@pytest.mark.parametrize(
    ('sample', 'meta', 'message'),
    [
        (subset_samples(1)[0], {}, r"needs a data set with metainfo\['class_indices'\]"),
        (subset_samples(1)[0], dict(class_indices=(2, 3)), r'label \d+ is not in'),
        (subset_samples(1)[0], dict(class_indices=(1, 40)), 'class 40, the model only 30 scores'),
        (DataSample().set_gt_label(1).set_pred_label(1), dict(class_indices=(1,)), 'pred_score'),
    ],
    ids=['no_indices', 'foreign_label', 'smaller_model', 'labels_only'],
)
def test_subset_accuracy_refuses(sample, meta, message):
    with pytest.raises(ValueError, match=message):
        evaluate(SubsetAccuracy(), [sample], **meta)


def test_corruption_accuracy():
    """Right are 1, 2, 3 of 7 at severity 1, and 2, 3, 4 of 4 at severity 5."""
    found = evaluate(CorruptionAccuracy(), corrupted_samples())
    expected = {
        'accuracy/fog': 50 * (1 / 7 + 2 / 4),
        'accuracy/snow': 50 * (2 / 7 + 3 / 4),
        'accuracy/frost': 50 * (3 / 7 + 4 / 4),
        'accuracy/top1': 100 / 6 * (6 / 7 + 9 / 4),
    }
    assert found == {name: pytest.approx(value) for name, value in expected.items()}


def test_corruption_accuracy_of_the_whole_set():
    """Mean over 19 corruptions and 5 severities, which takes no notice of the order."""
    rng = np.random.default_rng(0)
    cells = {cell: rng.random(3) < 0.5 for cell in itertools.product(CORRUPTIONS, SEVERITIES)}
    results = [(*cell, bool(right)) for cell, rights in cells.items() for right in rights]
    random.Random(0).shuffle(results)
    found = CorruptionAccuracy().compute_metrics(results)
    assert set(found) == {'top1', *CORRUPTIONS}
    assert found['top1'] == pytest.approx(100 * np.mean(list(cells.values())))
    for name in CORRUPTIONS:
        rights = [cells[name, severity] for severity in SEVERITIES]
        assert found[name] == pytest.approx(100 * np.mean(rights))


def test_corruption_accuracy_needs_to_know_the_corruption():
    with pytest.raises(ValueError, match=r'ImageNetC and dict\(type=.PackInputs., meta_keys'):
        evaluate(CorruptionAccuracy(), subset_samples(1))


def test_results_of_imagenet_c_are_small():
    """The set has 4.75 million images: their results have to fit into memory."""
    metric = CorruptionAccuracy()
    for sample in corrupted_samples() * 30:
        # as from a worker of the data loader: equal names are different objects
        metric.process(None, [pickle.loads(pickle.dumps(sample)).to_dict()])
    assert len(pickle.dumps(metric.results)) / len(metric.results) < 16
    names = {id(name) for name, *_ in metric.results}
    assert len(names) == 3


def work(rank: int, folder: str) -> None:
    """One of two processes, each with every other sample and the last one twice."""
    os.environ.update(MASTER_ADDR='127.0.0.1', RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank))
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2
    )
    tasks = dict(
        subset=(SubsetAccuracy(), subset_samples(33)),
        corruption=(CorruptionAccuracy(), corrupted_samples()),
    )
    found = {}
    for name, (metric, samples) in tasks.items():
        evaluator = Evaluator(metric)
        evaluator.dataset_meta = dict(class_indices=INDICES)
        evaluator.process((samples + samples[:1])[rank : len(samples) + 1 : 2])
        found[name] = evaluator.evaluate(len(samples))
    torch.save(found, Path(folder) / f'rank{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    assert len(subset_samples(33)) % 2 and len(corrupted_samples()) % 2, 'one sample is seen twice'
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    expected = dict(
        subset=evaluate(SubsetAccuracy(), subset_samples(33), class_indices=INDICES),
        corruption=evaluate(CorruptionAccuracy(), corrupted_samples()),
    )
    for rank in (0, 1):
        assert torch.load(tmp_path / f'rank{rank}.pth') == expected


def test_registered():
    assert METRICS.get('SubsetAccuracy') is SubsetAccuracy
    assert METRICS.get('CorruptionAccuracy') is CorruptionAccuracy
