"""Tools meet wrong data: one line, exit code 2, and nothing is trained, drawn or counted."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vil_mm
from vil_mm.runs import launch


@pytest.fixture
def root(drawn_data: Path, tmp_path: Path) -> Path:
    """A copy of the drawn set, to be damaged."""
    return Path(shutil.copytree(drawn_data, tmp_path / 'set'))


TWO_CLASSES = """
_base_ = './tiny.py'
two = dict(
    type='BaseSegDataset',
    data_root={root!r},
    metainfo=dict(classes=('a', 'b'), palette=[[0, 0, 0], [9, 9, 9]]),
    reduce_zero_label=False,
)
model = dict(decode_head=dict(num_classes=2), auxiliary_head=dict(num_classes=2))
train_dataloader = dict(dataset=two)
val_dataloader = dict(dataset=two)
test_dataloader = val_dataloader
"""


@pytest.fixture
def run(run_here, tiny_config, root, capfd):
    """Runs a tool on the copy; returns its exit code and what it printed on standard error."""
    tiny_config.with_name('two.py').write_text(TWO_CLASSES.format(root=str(root)))
    places = [f'{split}_dataloader.dataset.data_root={root}' for split in ('train', 'val', 'test')]

    def run(tool: str, *args: str | Path, config: str = '', option: str = '') -> tuple[int, str]:
        capfd.readouterr()
        options = [] if config else ['--cfg-options', *places, *filter(None, [option])]
        with pytest.raises(SystemExit) as stopped:
            run_here(tool, config or tiny_config, *args, *options)
        return stopped.value.code, capfd.readouterr().err

    return run


def whiten(root: Path) -> None:
    """Black and white masks, of a class that the masks were to number."""
    for path in root.glob('annotations/*/*.png'):
        labels = np.array(Image.open(path))
        Image.fromarray((labels > 1).astype(np.uint8) * 255).save(path)


@pytest.mark.parametrize(
    ('tool', 'args'),
    [
        ('train.py', ()),
        ('priors.py', ()),
        ('browse_dataset.py', ('-o', 'out')),
        ('confusion_matrix.py', ('.',)),
        ('prepare_data.py', ()),
    ],
)
def test_white_masks(run, root, tmp_path, tool: str, args: tuple[str, ...]) -> None:
    whiten(root)
    before = sorted(tmp_path.rglob('*'))
    code, error = run(tool, *args, config='two.py')
    assert code == 2 and 'Traceback' not in error
    words = r"(train|test) data: class 'a' alone .* values are 0, 255: .* 0 -> 0, 255 -> 1\n"
    assert re.search(words, error), error
    assert sorted(tmp_path.rglob('*')) == before


def test_testing(run, root, trained) -> None:
    next(root.glob('annotations/validation/*')).unlink()
    code, error = run('test.py', trained.checkpoint)
    assert code == 2 and 'Traceback' not in error
    assert re.search(r'test data: no mask .*\.png of .*\.jpg: add the mask', error)


@pytest.mark.parametrize(('kind', 'workers'), [('images', 0), ('annotations', 1)])
def test_damage_in_the_middle(run, root, monkeypatch, workers: int, kind: str) -> None:
    monkeypatch.setattr(launch, 'check_samples', lambda *args: None)  # the sample had not seen it
    for path in root.glob(f'{kind}/training/*'):
        path.write_bytes(path.read_bytes()[:-200])
    code, error = run('train.py', option=f'train_dataloader.num_workers={workers}')
    last = error.strip().splitlines()[-1]
    assert code == 2 and re.search(rf'^train\.py: .*{kind}/training/\w+\.\w+ .*is cut off', last)
    assert 'Traceback' not in error


class TestPrepareData:
    def test_right_set(self, run_here, tiny_config, capfd) -> None:
        with pytest.raises(SystemExit) as stopped:
            run_here('prepare_data.py', tiny_config)
        lines = capfd.readouterr().out.splitlines()
        assert not stopped.value.code and 'train: 8 images, 8 read, no problems' in lines
        assert not any(line.startswith('test') for line in lines)  # they are those of val

    def test_all_is_read(self, run_here, tmp_path, test_data, capfd) -> None:
        root = test_data / 'camvid'
        with pytest.raises(SystemExit) as stopped:
            run_here(
                'prepare_data.py', vil_mm.CONFIG_DIR / 'upernet_vil_t_camvid_cpu.py',
                '--workers', '2', '--cfg-options',
                *(f'{split}_dataloader.dataset.data_root={root}' for split in ('train', 'val')),
                f'test_dataloader.dataset.data_root={root}',
            )  # fmt: skip
        lines = capfd.readouterr().out.splitlines()
        assert not stopped.value.code
        assert 'train: 367 images, 367 read, no problems' in lines
        assert 'val: 101 images, 101 read, no problems' in lines

    @pytest.mark.parametrize(
        ('args', 'words'),
        [
            (['none.py'], 'config not found: none.py'),
            (['camvid'], 'camvid is a data set: add --check ROOT'),
            (['tiny.py', '--quick'], '--quick and --any-count need --check ROOT'),
            (['tiny.py', '--cfg-options', 'val_dataloader.dataset.data_root=no'], 'val data not'),
        ],
    )
    def test_bad_input(self, run_here, tiny_config, capfd, args: list[str], words: str) -> None:
        with pytest.raises(SystemExit) as stopped:
            run_here('prepare_data.py', *args)
        error = capfd.readouterr().err
        assert stopped.value.code == 2 and words in error and 'Traceback' not in error
