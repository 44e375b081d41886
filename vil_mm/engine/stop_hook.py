"""Signals that end a training: finish the iteration, save, exit with a status to test for."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, barrier, is_distributed, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

STOPPED, INTERRUPTED = 75, 130  # EX_TEMPFAIL, "try again later"; what shells report after Ctrl-C
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class TrainingStopped(RuntimeError):
    """A signal ended the training; the message names the checkpoint.

    Attributes:
        exit_code: Of the tools: 75, or 130 after Ctrl-C.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@HOOKS.register_module()
class StopOnSignalHook(Hook):
    """On SIGTERM, SIGUSR1 or Ctrl-C: finish the iteration, save a checkpoint, end the training.

    With gradient accumulation, the update is finished first. During validation, the training ends
    at once if its last iteration is saved already, and otherwise after the validation. Several
    processes stop at the same iteration if any of them gets a signal. In a run that counts epochs,
    the checkpoint is called ``iter_N.pth``, and resuming it repeats the started epoch. A second
    Ctrl-C stops at once. The runners of vil_mm add this hook to any training.

    Raises:
        TrainingStopped: In the first process, after saving; others exit with the same status.
    """

    priority = 'LOWEST'  # after the checkpoints

    def __init__(self) -> None:
        self._received = 0
        self._former: dict[int, Callable | int | None] = {}
        self._pid = os.getpid()
        self._is_over: Event | None = None

    def before_train(self, runner: Runner) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python has no handlers there
        self._pid, self._is_over = os.getpid(), multiprocessing.Event()
        self._former = {number: signal.signal(number, self._receive) for number in SIGNALS}
        atexit.register(self._is_over.set)  # before multiprocessing ends the workers
        loops = (runner.train_loop, getattr(runner, '_val_loop', None))
        loaders = [getattr(loop, 'dataloader', None) for loop in loops]
        for loader in filter(lambda x: isinstance(x, DataLoader), loaders):
            loader.worker_init_fn = ShieldedWorker(loader.worker_init_fn, self._is_over)

    def after_train(self, runner: Runner) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a data loader's worker, for the moment before it sets its own
        if number == signal.SIGINT and self._received:
            self._restore()
            raise SystemExit(INTERRUPTED)
        if not self._received and int(os.environ.get('RANK', 0)) == 0:
            again = '; Ctrl-C again stops at once' if number == signal.SIGINT else ''
            line = f'\n{signal.Signals(number).name}: stopping after this iteration{again}\n'
            os.write(2, line.encode())  # print may be in the middle of a line
        self._received = self._received or number

    def _restore(self) -> None:
        if self._is_over is not None:
            self._is_over.set()
        for number, handler in self._former.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._former = {}

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        if not self._former or not _ends_update(runner) or self.is_last_train_iter(runner):
            return  # after the last iteration there is little left to do
        if _counts_epochs(runner) and self.end_of_epoch(runner.train_dataloader, batch_idx):
            return  # after_train_epoch follows
        if self._is_asked():
            self._stop(runner, runner.iter + 1, is_mid_epoch=_counts_epochs(runner))

    def after_train_epoch(self, runner: Runner) -> None:
        if not self._former or not _counts_epochs(runner) or self.is_last_train_epoch(runner):
            return
        if self._is_asked():
            self._stop(runner, runner.iter, epoch=runner.epoch + 1)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Only one process can decide alone; others may have less to validate."""
        if not self._former or not self._received or is_distributed() or _is_end(runner):
            return
        if _ends_update(runner) and _is_saved(
            _find_checkpoint_hook(runner), runner.epoch, runner.iter
        ):
            self._stop(runner, runner.iter)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        may_stop = self._former and not _is_end(runner) and _ends_update(runner)
        if may_stop and self._is_asked():
            self._stop(runner, runner.iter)

    def _is_asked(self) -> bool:
        """Whether any process got a signal; all must ask at the same time."""
        if is_distributed():
            highest = torch.tensor(int(self._received), device=get_device())
            all_reduce(highest, op='max')
            self._received = self._received or int(highest)
        return bool(self._received)

    def _stop(
        self, runner: Runner, step: int, *, epoch: int | None = None, is_mid_epoch: bool = False
    ) -> None:
        hook = _find_checkpoint_hook(runner)
        epoch = runner.epoch if epoch is None else epoch
        if hook is not None and (is_mid_epoch or not _is_saved(hook, epoch, step)):
            _save(hook, runner, epoch, step, is_mid_epoch=is_mid_epoch)
        barrier()  # the first process has written
        name = signal.Signals(self._received).name
        code = INTERRUPTED if self._received == signal.SIGINT else STOPPED
        distributed = is_distributed()
        self._restore()
        if distributed:  # torchrun sends another signal when the first process ends
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
        if not is_main_process():
            raise SystemExit(code)
        place = f'{hook.last_ckpt} is saved' if hook else 'nothing is saved without CheckpointHook'
        raise TrainingStopped(
            f'stopped by {name} at iteration {step}: {place}; to continue, repeat the command '
            '(python tools/train.py needs --resume)',
            code,
        )


class ShieldedWorker:
    """A data loader's ``worker_init_fn`` after which signals leave the worker alone.

    Terminals and Slurm send signals to all processes of a run. A worker that ended then would end
    the training with an error. When the run is over, SIGTERM ends the worker as usual.
    """

    def __init__(self, init: Callable[[int], None] | None, is_over: Event) -> None:
        self.init, self.is_over = init, is_over

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._end)
        if self.init is not None:
            self.init(worker)

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self.is_over.is_set():
            os._exit(0)


def _ends_update(runner: Runner) -> bool:
    """Whether no gradients are accumulated that a checkpoint would lose."""
    return getattr(runner.optim_wrapper, 'should_update', lambda: True)()


def _counts_epochs(runner: Runner) -> bool:
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


def _is_end(runner: Runner) -> bool:
    """Whether the last iteration is over: what follows is the last validation."""
    return runner.iter >= runner.max_iters


def _find_checkpoint_hook(runner: Runner) -> CheckpointHook | None:
    return next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)


def _is_saved(hook: CheckpointHook | None, epoch: int, step: int) -> bool:
    if hook is None or hook.last_ckpt is None:
        return False
    number = epoch if hook.by_epoch else step
    return Path(hook.last_ckpt).name == hook.filename_tmpl.format(number)


def _save(
    hook: CheckpointHook, runner: Runner, epoch: int, step: int, *, is_mid_epoch: bool
) -> None:
    """Save as the hook does; a started epoch beside its numbered checkpoints."""
    if not hook.by_epoch:
        hook._save_checkpoint_with_step(runner, step, dict(epoch=epoch, iter=step))
        return
    if not is_mid_epoch and _counts_epochs(runner):
        hook._save_checkpoint_with_step(runner, epoch, dict(epoch=epoch, iter=step))
        return
    template, kept = hook.filename_tmpl, hook.max_keep_ckpts
    hook.filename_tmpl, hook.max_keep_ckpts = 'iter_{}.pth', -1
    # the resumed run starts the epoch again, and counts its iterations again
    start = epoch * len(runner.train_dataloader) if _counts_epochs(runner) else step
    hook._save_checkpoint_with_step(runner, step, dict(epoch=epoch, iter=start))
    hook.filename_tmpl, hook.max_keep_ckpts = template, kept
