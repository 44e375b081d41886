"""Makes `import torchvision` work where its build does not fit the installed torch.

mmpretrain imports torchvision for its transforms. A torchvision built for CUDA cannot load its
compiled library beside a CPU torch; its import then fails at `nms`, the first operator that it
describes to torch without asking whether the library is there. vil_mm needs none of the operators,
so that importing it says nothing of this: `python -m vil_mm` does, and torchvision itself when one
of them is called.
"""

import importlib
import sys

import torch

_SYMPTOM = 'operator torchvision::nms does not exist'
_SCHEMAS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
_declared: list[torch.library.Library] = []  # a declaration lives as long as its Library object


def import_torchvision() -> None:
    """Imports torchvision, if need be with its two operators declared but without a kernel.

    After that the transforms work; a call of a compiled operator fails, and torchvision says why.

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


def has_operators() -> bool:
    """Whether torchvision's compiled operators (nms, roi_align, ...) are there."""
    return importlib.import_module('torchvision.extension')._has_ops()
