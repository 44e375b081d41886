"""mmengine's ``CheckpointHook``, in an order that survives a kill at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import BaseStorageBackend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from vil_mm.engine.finite_checkpoints import OnlyFinite
from vil_mm.files import atomic_write

POINTER = 'last_checkpoint'  # a file in the work dir


@HOOKS.register_module()
class SafeCheckpointHook(OnlyFinite, CheckpointHook):
    """mmengine's ``CheckpointHook``, with the same options and file names, that loses nothing.

    Files are deleted only after their successors are on the disk, best checkpoints included. The
    file ``last_checkpoint`` is replaced, never truncated, and names a file without its folder, so
    that a work dir can be moved or copied. Nothing is saved that is not finite, see
    :class:`~vil_mm.engine.finite_checkpoints.OnlyFinite`. The runners of vil_mm use this hook
    wherever a config has mmengine's.
    """

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if getattr(self, 'best_ckpt_path', None):
            self.best_ckpt_path = self._in_this_folder(self.best_ckpt_path)
        best = getattr(self, 'best_ckpt_path_dict', {})
        best.update({key: self._in_this_folder(path) for key, path in best.items() if path})

    def _in_this_folder(self, path: str) -> str:
        """A best checkpoint's path; the folder may have been moved or copied since."""
        return self.file_backend.join_path(self.out_dir, Path(path).name)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        with self._deleting_last():
            super()._save_best_checkpoint(runner, metrics)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if self._refuses(runner, step):
            return
        with self._deleting_last():
            if self.max_keep_ckpts > 0:
                self._drop_outdated(runner, step)
            self._write(runner, self.filename_tmpl.format(step), meta)

    def _drop_outdated(self, runner: Runner, step: int) -> None:
        if step in self.keep_ckpt_ids:
            return
        if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
            name = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
            path = self.file_backend.join_path(self.out_dir, name)
            if is_main_process() and self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif is_main_process() and self.file_backend.isdir(path):  # of a strategy
                self.file_backend.rmtree(path)
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

    def _write(self, runner: Runner, name: str, meta: dict) -> None:
        """Save a checkpoint, then let ``last_checkpoint`` name it."""
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            is_remote = '://' in str(self.last_ckpt)
            with atomic_write(Path(runner.work_dir, POINTER), durable=True) as unfinished:
                unfinished.write_text(str(self.last_ckpt) if is_remote else name)

    @contextmanager
    def _deleting_last(self) -> Iterator[None]:
        """Delete at the end what is deleted inside, unless there is an error."""
        backend = self.file_backend
        self.file_backend = later = _DeletesLater(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        for delete, path in later.deletions:
            delete(path)


class _DeletesLater:
    """A storage backend that notes deletions instead of performing them."""

    def __init__(self, backend: BaseStorageBackend) -> None:
        self._backend = backend
        self.deletions: list[tuple[Callable[[str], None], str]] = []

    def remove(self, path: str) -> None:
        self.deletions.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self.deletions.append((self._backend.rmtree, path))

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)
