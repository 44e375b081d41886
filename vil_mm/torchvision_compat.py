"""Makes `import torchvision` work where its build does not fit the installed torch.

mmpretrain imports torchvision for its transforms. A torchvision built for CUDA cannot load its
compiled library beside a CPU torch; its import then fails at `nms`, the first operator that it
describes to torch without asking whether the library is there.
"""

import importlib
import sys
import warnings
from importlib import metadata

import torch

_SYMPTOM = 'operator torchvision::nms does not exist'
_SCHEMAS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
_declared: list[torch.library.Library] = []  # a declaration lives as long as its Library object


def import_torchvision() -> None:
    """Imports torchvision, if need be with its two operators declared but without a kernel.

    After that the transforms work; a call of a compiled operator still fails, in torch and by name.

    Raises:
        ImportError: if torchvision is not installed.
    """
    try:
        importlib.import_module('torchvision')
    except ModuleNotFoundError as error:
        if error.name != 'torchvision':
            raise
        raise ImportError(
            'vil_mm needs torchvision (mmpretrain imports it), in the build that matches torch. '
            "Install it with: pip install 'vil_mm[onedl]'"
        ) from error
    except RuntimeError as error:
        if _SYMPTOM not in str(error):
            raise
        _import_without_operators()


def _import_without_operators() -> None:
    for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
        del sys.modules[name]  # half imported: the second try has to run them from the start
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)
    importlib.import_module('torchvision')
    warnings.warn(
        f'vil_mm: torchvision {metadata.version("torchvision")} was not built for torch '
        f'{torch.__version__}; its transforms work, its compiled operators (nms, roi_align, ...) '
        'do not. For those, install the torchvision build (CPU or CUDA) that matches torch.',
        stacklevel=3,
    )
