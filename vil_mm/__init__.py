"""Vision-LSTM backbones for OpenMMLab: importing this package registers everything it has.

In a config, `custom_imports = dict(imports=['vil_mm'], allow_failed_imports=False)` does the same.
"""

from pathlib import Path

from vil_mm.stack import check_stack
from vil_mm.torchvision_compat import import_torchvision
from vil_mm.version import __version__

__all__ = ['CONFIG_DIR', '__version__']


def _find_config_dir() -> Path:
    """Returns the configs packed into the wheel or, in a working tree, the repository's own."""
    package = Path(__file__).resolve().parent
    packed = package / '.mim' / 'configs'
    return packed if packed.is_dir() else package.parent / 'configs'


CONFIG_DIR: Path = _find_config_dir()

check_stack()
import_torchvision()  # before mmpretrain does, which the registered models build on

from vil_mm import datasets, engine, evaluation, models  # noqa: F401
