"""Storage on local disks that never leaves half a file."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from vil_mm.files import atomic_write


@register_backend('local', force=True, prefixes='')
class DurableLocalBackend(LocalBackend):
    """mmengine's ``LocalBackend``, writing files beside their targets and renaming them.

    It replaces the original as soon as vil_mm is imported, so that every checkpoint that mmengine
    writes to a local disk appears whole or not at all.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; a link's target is replaced, not the link."""
        target = Path(os.path.realpath(filepath))
        if target.exists() and not target.is_file():  # a pipe or a device
            super().put(obj, filepath)
            return
        with atomic_write(target, durable=True) as unfinished:
            unfinished.write_bytes(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text, see :meth:`put`."""
        self.put(obj.encode(encoding), filepath)
