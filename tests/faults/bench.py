"""All entry points with the files that they take, good ones and one malformed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest
import torch
from entry_points import ACCEPTED, Trial, run_tool
from malformed_images import encode, pixels
from malformed_weights import FOR_OTHERS
from mmengine.runner import load_checkpoint

from vil_mm.apis import ClsInferencer, SegInferencer
from vil_mm.checkpoints.loading import load_backbone
from vil_mm.runs import launch
from vil_mm.runs.build import build_model
from vil_mm.runs.reading import read_config

Entries = dict[str, Callable[[Path], object]]
Files = Iterable[tuple[str, bytes]]

# do not compare weights with a model
LENIENT = ('publish_model.py', 'mmengine load_checkpoint', 'finetune.py')
# a new head starts at random; with a block less it is a smaller model
MAY = {
    'missing-head': ('train.py load_from', 'train.py init_cfg', 'load_backbone'),
    'missing-block': ('convert_checkpoint.py',),
}
# finetune.py lists the values of all masks together, and takes those near a class for edges
SURVEYED = (
    'wide-values',
    'colour',
    'transparent',
    'grey-and-alpha',
    '16-bit',
    '32-bit',
    'jpeg-noise',
)
# entry points that take least time
QUICK = (
    'test.py', 'SegInferencer', 'publish_model.py', 'mmengine load_checkpoint', 'ClsInferencer',
    'convert_checkpoint.py', 'load_backbone', 'image_demo.py', 'train.py', 'prepare_data.py',
    'confusion_matrix.py maps', 'confusion_matrix.py results', 'analyze_logs.py', 'get_flops.py',
)  # fmt: skip


class Bench:
    """The entry points, with good files for all but one of their arguments."""

    def __init__(
        self, folder: Path, segmentor, classifier, drawn: Path, photographs: Path, step: int = 1
    ) -> None:
        self.folder, self.segmentor, self.classifier = folder, segmentor, classifier
        self.step = step  # 1 tries all files
        (folder / 'run').mkdir()
        self.trial = Trial(folder / 'run', folder / 'ran')
        self.drawn = shutil.copytree(drawn, folder / 'drawn')
        self.photographs = shutil.copytree(photographs, folder / 'photographs')
        self.image = folder / 'image.png'
        self.image.write_bytes(encode(pixels(48, 64, 3)))

    def some(self, files: Files) -> list[tuple[str, bytes]]:
        """All files, or a sample of them."""
        return list(files)[:: self.step]

    def pick(self, entries: Entries) -> Entries:
        """All entry points, or the quick ones."""
        return {key: x for key, x in entries.items() if self.step == 1 or key in QUICK}

    def content(self, run, name: str = '') -> dict:
        path = run.work_dir / name if name else run.checkpoint
        return torch.load(path, weights_only=False, map_location='cpu')

    def places(self, root: Path, *splits: str) -> list[str]:
        return ['--cfg-options', *(f'{x}_dataloader.dataset.data_root={root}' for x in splits)]

    def checkpoints(self) -> Entries:
        """Entry points of a segmentor's weights."""
        config, image, places = self.segmentor.config, self.image, self.places
        options = places(self.drawn, 'train', 'val', 'test')
        return {
            'test.py': lambda x: run_tool('test.py', config, x, '--work-dir', 'w'),
            'train.py load_from': lambda x: run_tool(
                'train.py', config, '--work-dir', 'w', *options, f'load_from={x}'
            ),
            'train.py init_cfg': lambda x: run_tool(
                'train.py', config, '--work-dir', 'w', *options,
                f"model.backbone.init_cfg=dict(type='Pretrained', checkpoint='{x}')",
            ),
            'finetune.py': lambda x: run_tool('finetune.py', *self.photos(), '--from', x),
            'image_demo.py': lambda x: run_tool('image_demo.py', image, config, x, '--out', 'o'),
            'visualize.py features': lambda x: run_tool(
                'visualize.py', 'features', image, config, x, '--out', 'f.png'
            ),
            'visualize.py errors': lambda x: run_tool(
                'visualize.py', 'errors', config, x, '--index', '0', '--out', 'f.png'
            ),
            'confusion_matrix.py': lambda x: run_tool('confusion_matrix.py', config, x),
            'export.py': lambda x: run_tool(
                'export.py', config, x, '--part', 'backbone', '--shape', '32', '--format',
                'torch-export', '--out', 'm.pt2',
            ),
            'benchmark.py': lambda x: run_tool(
                'benchmark.py', config, x, '--shape', '64', '--repeat', '1', '--device', 'cpu'
            ),
            'SegInferencer': lambda x: SegInferencer(config, x, 'cpu', show_progress=False)(
                str(image), out_dir='o'
            ),
            **self.any_model(lambda: build_model(read_config(config))),
        }  # fmt: skip

    def any_model(self, build: Callable[[], torch.nn.Module]) -> Entries:
        """Those that know nothing of the model."""
        return {
            'publish_model.py': lambda x: run_tool('publish_model.py', x, 'small.pth'),
            'mmengine load_checkpoint': lambda x: load_checkpoint(build(), str(x)),
        }

    def class_checkpoints(self) -> Entries:
        """Entry points of a classifier's weights."""
        config, image = self.classifier.config, self.image
        return {
            'test.py': lambda x: run_tool('test.py', config, x, '--work-dir', 'w'),
            'image_demo.py': lambda x: run_tool('image_demo.py', image, config, x, '--out', 'o'),
            'export.py': lambda x: run_tool(
                'export.py', config, x, '--shape', '32', '--format', 'torch-export',
                '--out', 'm.pt2',
            ),
            'convert_checkpoint.py': lambda x: run_tool(
                'convert_checkpoint.py', x, 'official.th', '--to', 'official'
            ),
            'confusion_matrix.py': lambda x: run_tool('confusion_matrix.py', config, x),
            'visualize.py decay': lambda x: run_tool(
                'visualize.py', 'decay', image, config, x, '--out', 'f.png'
            ),
            'ClsInferencer': lambda x: ClsInferencer(config, x, 'cpu')(str(image), show_dir='o'),
            'load_backbone': lambda x: load_backbone(
                build_model(read_config(config)).backbone, str(x)
            ),
            **self.any_model(lambda: build_model(read_config(config))),
        }  # fmt: skip

    def photos(self) -> list[str | Path]:
        images, masks = (self.drawn / kind / 'training' for kind in ('images', 'annotations'))
        names = [f'c{i}' for i in range(9)]
        return ['--images', images, '--masks', masks, '--classes', *names, '--values',
                *(f'c{i}={i}' for i in range(9)), '--out', 'own', '--prepare-only',
                '--crop', '64', '64']  # fmt: skip

    def resume(self, state: Path) -> None:
        work = self.trial.folder / 'w'
        work.mkdir()
        shutil.copy(state, work / 'iter_2.pth')
        (work / 'last_checkpoint').write_text('iter_2.pth')
        run_tool(
            'train.py', self.segmentor.config, '--resume', '--work-dir', work,
            *self.places(self.drawn, 'train', 'val'),
        )  # fmt: skip

    def images(self) -> Entries:
        """Entry points of single images."""
        (config, checkpoint, _), (cls_config, cls_checkpoint, _) = self.segmentor, self.classifier
        segment = SegInferencer(config, checkpoint, 'cpu', show_progress=False)
        classify = ClsInferencer(cls_config, cls_checkpoint, 'cpu')
        return {
            'image_demo.py': lambda x: run_tool(
                'image_demo.py', x, config, checkpoint, '--out', 'o.png'
            ),
            'image_demo.py classifier': lambda x: run_tool(
                'image_demo.py', x, cls_config, cls_checkpoint, '--out', 'o.png'
            ),
            'visualize.py features': lambda x: run_tool(
                'visualize.py', 'features', x, config, '--out', 'f.png'
            ),
            'visualize.py decay': lambda x: run_tool(
                'visualize.py', 'decay', x, cls_config, '--out', 'f.png'
            ),
            'SegInferencer': lambda x: segment(str(x), out_dir='o'),
            'ClsInferencer': lambda x: classify(str(x), show_dir='o'),
            'SegInferencer.draw': lambda x: segment.draw(x),
        }  # fmt: skip

    def data(self) -> Entries:
        """Entry points of the drawn data, one file of which the test replaces."""
        config = self.segmentor.config
        options = self.places(self.drawn, 'train', 'val', 'test')
        few = ['num_workers=0', 'persistent_workers=False']
        workers = [f'train_dataloader.{x}' for x in few]

        def unchecked(*command: object) -> None:
            with pytest.MonkeyPatch.context() as patch:  # a file that the sample left out
                patch.setattr(launch, 'check_samples', lambda *_: None)
                run_tool(*command)

        return {
            'train.py': lambda _: run_tool('train.py', config, '--work-dir', 'w', *options),
            'train.py later': lambda _: unchecked(
                'train.py', config, '--work-dir', 'w', *options, *workers
            ),
            'prepare_data.py': lambda _: run_tool('prepare_data.py', config, *options),
            'browse_dataset.py': lambda _: run_tool(
                'browse_dataset.py', config, '-o', 'pictures', *options
            ),
            'priors.py': lambda _: run_tool('priors.py', config, *options),
            'finetune.py': lambda _: run_tool('finetune.py', *self.photos()),
        }  # fmt: skip

    def validation(self) -> Entries:
        config, checkpoint, _ = self.segmentor
        options = self.places(self.drawn, 'train', 'val', 'test')

        def unchecked(*command: object) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(launch, 'check_samples', lambda *_: None)
                run_tool(*command)

        return {
            'test.py': lambda _: run_tool(
                'test.py', config, checkpoint, '--work-dir', 'w', *options
            ),
            'test.py later': lambda _: unchecked(
                'test.py', config, checkpoint, '--work-dir', 'w', *options
            ),
            'confusion_matrix.py': lambda _: run_tool(
                'confusion_matrix.py', config, checkpoint, *options
            ),
            'visualize.py errors': lambda _: run_tool(
                'visualize.py', 'errors', config, '--index', '0', '1', '2', '--out', 'f.png',
                *options,
            ),
        }  # fmt: skip


def check(bench: Bench, entries: Entries, good: Path) -> None:
    """Fail unless good files pass everywhere."""
    if bench.step > 1:
        return
    for entry, call in entries.items():
        bench.trial.run('good', entry, partial(call, good))
        outcome = bench.trial.outcomes.pop(('good', entry))
        assert outcome == ACCEPTED, f'{entry}: {bench.trial.details.pop(("good", entry), outcome)}'


def put(
    bench: Bench, kind: str, files: Files, entries: Entries, suffix: str = '', named: bool = True
) -> None:
    """Write each file and give it to the entry points."""
    for name, content in files:
        path = bench.folder / f'{name}{suffix}'.replace('/', '_')
        path.write_bytes(content)
        for entry, call in bench.pick(entries).items():
            if any(name.startswith(x) for x in FOR_OTHERS) and entry in LENIENT:
                continue
            if entry in MAY.get(name, ()):
                continue
            must_name = named and name != 'long-line'  # whose first entry is what is wrong
            bench.trial.run(f'{kind}/{name}', entry, partial(call, path), path.name * must_name)
        path.unlink()


def replace(bench: Bench, kind: str, files: Files, target: Path, entries: Entries) -> None:
    """Put each file in the place of one of the data set."""
    good = target.read_bytes()
    for name, content in files:
        target.write_bytes(content)
        for entry, call in bench.pick(entries).items():
            if entry == 'finetune.py' and name in SURVEYED:
                continue
            bench.trial.run(f'{kind}/{name}', entry, partial(call, target), target.name)
    target.write_bytes(good)
