"""Make `import torchvision` work if its build does not match the installed torch.

mmpretrain imports torchvision for its transforms. A torchvision built for CUDA cannot load its
compiled library with a CPU build of torch, so its import fails at `nms`, the first operator that it
registers without checking for the library. vil_mm needs none of these operators, so its import
stays silent; `python -m vil_mm` reports the mismatch, and so does torchvision if one is called.
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
    """Import torchvision, if necessary after declaring two operators without a kernel.

    Transforms then work. Compiled operators fail when called, with torchvision's explanation.

    Raises:
        ImportError: torchvision is not installed.
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
        del sys.modules[name]  # partly imported: run them again from the start
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)
    importlib.import_module('torchvision')


def has_operators() -> bool:
    """Whether torchvision's compiled operators (nms, roi_align, ...) are available."""
    return importlib.import_module('torchvision.extension')._has_ops()
