"""Vision-LSTM backbones for OpenMMLab: importing this package registers everything it has.

In a config, `custom_imports = dict(imports=['vil_mm'], allow_failed_imports=False)` does the same.
"""

from vil_mm.quiet import quiet_building, quiet_import
from vil_mm.torchvision_compat import import_torchvision
from vil_mm.version import __version__
from vil_mm.versions import check_stack
from vil_mm.zoo import CONFIG_DIR

__all__ = ['CONFIG_DIR', '__version__']

check_stack()
with quiet_import():
    import_torchvision()  # before mmpretrain does, which the registered models build on

    from vil_mm import datasets, engine, evaluation, models  # noqa: F401
quiet_building()
