"""What both inferencers take as images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vil_mm.datasets.images import list_images


class ImageInputs:
    """Mix-in before an inferencer of OpenMMLab: of a folder its images alone, and ``Path``s."""

    def _inputs_to_list(self, inputs: str | Path | np.ndarray | list) -> list:
        if isinstance(inputs, str | Path):
            return [str(path) for path in list_images(inputs)]
        return [str(x) if isinstance(x, Path) else x for x in super()._inputs_to_list(inputs)]
