"""Pictures of predictions during training and testing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import mmcv
import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmpretrain.engine.hooks import VisualizationHook
from mmpretrain.structures import DataSample

from vil_mm.datasets.images import distinct_names
from vil_mm.datasets.reading import ImageReader, find_reader
from vil_mm.engine.captions import draw_classes
from vil_mm.files import atomic_write


@HOOKS.register_module()
class PictureHook(Hook):
    """Draws every test image with its prediction, for segmentors, classifiers and detectors.

    Images are read by the test data's pipeline and may have any number of bands. The files are
    ``<out_dir>/<image name>.png``; for images of equal name, enough of the path is added to make
    them unique. Replaces OpenMMLab's visualization hooks in ``tools/test.py --show-dir``.

    Args:
        out_dir: Output folder.
        show: Open a window for each picture, for ``wait_time`` seconds (0: until a key is pressed).
        wait_time: See ``show``.
        score_thr: Minimum score of a detector's boxes to draw.
    """

    def __init__(
        self,
        out_dir: str | None = None,
        show: bool = False,
        wait_time: float = 0,
        score_thr: float = 0.3,
    ) -> None:
        self.out_dir, self.show, self.wait_time = out_dir, show, wait_time
        self.score_thr = score_thr
        self.names: dict[str, Path] = {}
        self.reader: ImageReader | None = None

    def before_test(self, runner: Runner) -> None:
        """Choose the names of pictures and how images are read."""
        dataset = runner.test_dataloader.dataset
        paths = [str(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]
        self.names = dict(zip(paths, distinct_names(paths), strict=True))
        self.reader = find_reader(dataset)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[BaseDataElement]
    ) -> None:
        """Draw a batch."""
        for sample in outputs:
            name = self.names[str(sample.img_path)]
            image = self.reader.picture(self.reader.read(sample.img_path)['img'])
            picture = self._draw(runner, str(name), image, sample)
            if self.out_dir and picture is not None:
                target = Path(self.out_dir, f'{name}.png')
                with atomic_write(target) as unfinished:
                    mmcv.imwrite(mmcv.rgb2bgr(picture), str(unfinished))
            if self.show:
                runner.visualizer.show(picture, win_name=str(name), wait_time=self.wait_time)

    def after_test(self, runner: Runner) -> None:
        """Say where the pictures are."""
        if self.out_dir and is_main_process():
            print(f'{len(self.names)} pictures in {self.out_dir}')

    def _draw(
        self, runner: Runner, name: str, image: np.ndarray, sample: BaseDataElement
    ) -> np.ndarray | None:
        """The picture ``(H', W', 3)``, RGB; None if only the main process can draw it."""
        if isinstance(sample, DataSample):
            classes = runner.test_dataloader.dataset.metainfo.get('classes')
            return draw_classes(image, sample, classes)
        if hasattr(runner.visualizer, 'compose'):
            return runner.visualizer.compose(image, sample)
        if not is_main_process():
            return None
        options = {} if 'pred_sem_seg' in sample else {'pred_score_thr': self.score_thr}
        with TemporaryDirectory() as folder:  # given a file, the backends get no second copy
            options['out_file'] = f'{folder}/picture.png'
            runner.visualizer.add_datasample(name, image, data_sample=sample, **options)
        return runner.visualizer.get_image()


@HOOKS.register_module()
class ClsVisualizationHook(VisualizationHook):
    """mmpretrain's ``VisualizationHook`` with red and blue in the right order.

    mmpretrain passes images in BGR, as loaded, to a visualizer that draws RGB.
    """

    def _draw_samples(
        self, batch_idx: int, data_batch: dict, data_samples: Sequence[DataSample], step: int = 0
    ) -> None:
        if not self.enable:
            return
        images = [image.flip(0) for image in data_batch['inputs']]
        super()._draw_samples(batch_idx, {**data_batch, 'inputs': images}, data_samples, step)
