"""Full and read-only disks, and killed workers: one line, status 74, and nothing lost."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stalling import let_go, start_stalled
from trainings import load, run, same

from vil_mm.files import REASONS, UNFINISHED


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own; ``resize`` changes it."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f'no disk of its own can be mounted: {done.stderr.strip()}')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


def resize(disk: Path, option: str) -> None:
    subprocess.run(['mount', '-o', f'remount,{option}', str(disk)], check=True)


def free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bfree * found.f_bsize


def fill(disk: Path, left: int) -> Path:
    """Leave some bytes, in whole pages."""
    filler = disk / 'filler'
    with filler.open('wb') as file:
        file.write(bytes(max(free(disk) - left, 0)))
    return filler


def last_line(log: Path, tool: str = 'train.py') -> str:
    text = log.read_text()
    assert 'Traceback' not in text and 'Exception ignored' not in text, text[-3000:]
    return [line for line in text.splitlines() if line.startswith(f'{tool}: ')][-1]


def assert_full(line: str, place: Path) -> None:
    assert REASONS[errno.ENOSPC] in line and str(place) in line, line


@pytest.fixture(scope='module')
def whole(tmp_path_factory, write_run) -> Path:
    folder = tmp_path_factory.mktemp('whole')
    write_run(folder)
    assert run(folder, 'run.py') == 0
    return folder / 'work'


@pytest.mark.slow
def test_training_on_a_disk_that_runs_full(tmp_path, write_run, disk, whole, capsys):
    """At many sizes: every kind of write meets the end of the disk."""
    write_run(tmp_path)
    size = sum(path.stat().st_size for path in whole.rglob('*') if path.is_file())
    largest = (whole / 'iter_4.pth').stat().st_size
    sizes = [0, 4096, 8192, 16384, 28672, 40960, *range(65536, size + largest, largest // 2)]
    named, work = set(), disk / 'work'
    for left in sizes:
        filler = fill(disk, left)
        status = run(tmp_path, 'run.py', '--work-dir', str(work))
        if status:
            assert status == 74, (tmp_path / 'log').read_text()[-3000:]
            line = last_line(tmp_path / 'log')
            assert_full(line, work)
            named.add(Path(line.split(' cannot be')[0]).name)
        for path in work.glob('[!.]*.pth'):
            load(path)
        filler.unlink()
        if status:
            assert run(tmp_path, 'run.py', '--work-dir', str(work), '--resume') == 0
        assert same(work / 'iter_4.pth', whole / 'iter_4.pth')
        (tmp_path / 'log').unlink()
        subprocess.run(['rm', '-r', str(work)], check=True)
    with capsys.disabled():
        print(f'\n{len(sizes)} sizes of a disk; these could not be written: {sorted(named)}')
    assert {'iter_1.pth', 'iter_2.pth'} <= named


@pytest.mark.slow
def test_read_only_disk(tmp_path, write_run, disk, whole):
    """From the start, and during the run."""
    write_run(tmp_path)
    resize(disk, 'ro')
    for _ in range(2):
        assert run(tmp_path, 'run.py', '--work-dir', str(disk / 'work')) == 74
        line = last_line(tmp_path / 'log')
        assert 'cannot be written: the file system is read-only' in line
        assert str(disk / 'work') in line
        resize(disk, 'rw')
        (disk / 'work').mkdir(exist_ok=True)
        resize(disk, 'ro')
    resize(disk, 'rw')
    assert run(tmp_path, 'run.py', '--work-dir', str(disk / 'work')) == 0


@pytest.mark.slow
def test_testing_on_a_full_disk(tmp_path, trained, disk):
    (tmp_path / 'image').mkdir()
    args = (str(trained.config), str(trained.checkpoint))
    fill(disk, 0)
    for options in (['--out', str(disk / 'out')], ['--show-dir', str(disk / 'out')]):
        options += ['--work-dir', str(tmp_path / 'test')]
        assert run(tmp_path, *args, *options, tool='test.py') == 74
        line = last_line(tmp_path / 'log', 'test.py')
        assert_full(line, disk)
        assert UNFINISHED not in line
        assert not [x for x in disk.rglob('*.png') if x.stat().st_size]
    assert run(tmp_path, *args, '--work-dir', str(disk / 'test'), tool='test.py') == 74
    assert_full(last_line(tmp_path / 'log', 'test.py'), disk)


@pytest.mark.slow
def test_pictures_and_videos_on_a_full_disk(tmp_path, trained, disk, drawn_data):
    import cv2

    image = next(drawn_data.rglob('*.jpg'))
    video = tmp_path / 'video.mp4'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*'mp4v'), 5.0, (64, 64))
    for _ in range(3):
        writer.write(cv2.resize(cv2.imread(str(image)), (64, 64)))
    writer.release()
    fill(disk, 0)
    args = (str(trained.config), str(trained.checkpoint), '--device', 'cpu', '--out')
    for source, out in ((image, disk / 'a.png'), (video, disk / 'a.mp4')):
        assert run(tmp_path, str(source), *args, str(out), tool='image_demo.py') in (2, 74)
        line = last_line(tmp_path / 'log', 'image_demo.py')
        assert 'disk' in line and 'full' in line and str(out) in line
        assert [x.name for x in disk.iterdir()] == ['filler']


@pytest.mark.slow
def test_killed_worker_of_a_data_loader(tmp_path, write_run):
    job = start_stalled(tmp_path, write_run)
    children = Path(f'/proc/{job.pid}/task/{job.pid}/children').read_text().split()
    workers = [int(pid) for pid in children if 'tracker' not in command_of(pid)]
    os.kill(workers[0], 9)
    codes, lines = let_go(tmp_path, job)
    assert codes == [74], lines[-20:]
    assert lines[-1].startswith('train.py: DataLoader worker (pid')
    assert 'lack of memory' in lines[-1]
    assert run(tmp_path, 'run.py', '--no-validate', '--resume') == 0
    assert (tmp_path / 'work' / 'iter_6.pth').is_file()


def command_of(pid: str) -> str:
    return Path(f'/proc/{pid}/cmdline').read_text()


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_checkpoint_does_not_fit(tmp_path, write_run, run_here, capfd, monkeypatch, number):
    """The short form: the disk refuses the third checkpoint."""
    fsync, count = os.fsync, []

    def full(descriptor: int) -> None:
        if 'iter_3' in os.readlink(f'/proc/self/fd/{descriptor}'):
            count.append(1)
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    config, work = write_run(tmp_path), tmp_path / 'work'
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(os, 'fsync', full)
        run_here('train.py', config)
    assert stop.value.code == 74 and count == [1]
    line = capfd.readouterr().err.splitlines()[-1]
    assert f'train.py: {work}/iter_3.pth cannot be written: {REASONS[number]}' in line
    assert sorted(x.name for x in work.glob('iter*')) == ['iter_2.pth']
    assert (work / 'last_checkpoint').read_text() == 'iter_2.pth'
    assert not list(work.glob('.*'))
