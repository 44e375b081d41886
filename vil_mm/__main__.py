"""Show what is installed and whether it works: ``python -m vil_mm`` or ``vil-mm``.

``--models [PATTERN]`` lists the names of the model zoo instead, ``--build-native`` compiles the
native scan, which makes models faster on a CPU and which installing builds where it can.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import platform
from importlib import metadata

import torch

import vil_mm
from vil_mm.apis import list_models
from vil_mm.layers.native import build, library
from vil_mm.mlstm.triton.runtime import DISABLED, unsupported_reason
from vil_mm.torchvision_compat import has_operators

# module -> packages that provide it
PACKAGES = {
    'torch': ('torch',),
    'torchvision': ('torchvision',),
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'triton': ('triton',),
    'onnxruntime': ('onnxruntime', 'onnxruntime-gpu'),
}


def find_version(module: str) -> str:
    """Version and package of a module, or 'not installed'."""
    for package in PACKAGES[module]:
        try:
            return f'{metadata.version(package)} ({package})'
        except metadata.PackageNotFoundError:
            continue
    return 'not installed'


def check_mmcv_operators() -> str:
    """Whether this mmcv has compiled operators, which mmdetection and some heads need."""
    if importlib.util.find_spec('mmcv._ext') is None:
        return 'not compiled: segmentation and classification work, mmdetection does not'
    try:
        importlib.import_module('mmcv._ext')
    except ImportError as error:  # built for another torch
        return f'compiled, but do not load: {error}'
    return 'compiled'


def check_torchvision_operators() -> str:
    """Whether torchvision matches the build of torch."""
    if has_operators():
        return 'compiled'
    return (
        'not for this build of torch: transforms work, nms and roi_align do not; for those, '
        'install the matching build (CPU or CUDA)'
    )


def check_fused_kernels() -> str:
    """Whether the mLSTM runs as fused kernels here."""
    if not torch.cuda.is_available():
        return 'no, there is no CUDA GPU: plain PyTorch runs instead'
    reason = unsupported_reason(torch.empty(0, device='cuda'))
    return f'no, {reason}: plain PyTorch runs instead' if reason else 'yes, on CUDA tensors'


def check_native_scan() -> str:
    """Whether scans on a CPU run in C++ here."""
    if DISABLED:
        return 'no, the environment variable VIL_MM_KERNELS is 0'
    return library.describe()


def list_gpus() -> str:
    """The GPUs that torch sees."""
    if not torch.cuda.is_available():
        built = torch.version.cuda
        return 'none' + ('' if built else ', and torch is built without CUDA')
    properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return ', '.join(f'{gpu.name} ({gpu.total_memory / 1024**3:.0f} GiB)' for gpu in properties)


def report() -> dict[str, str]:
    """The lines to print, by topic."""
    return {
        'vil_mm': vil_mm.__version__,
        'Python': f'{platform.python_version()} on {platform.system()} {platform.machine()}',
        **{module: find_version(module) for module in PACKAGES},
        'operators of mmcv': check_mmcv_operators(),
        'operators of torchvision': check_torchvision_operators(),
        'GPUs': list_gpus(),
        'fused kernels': check_fused_kernels(),
        'native scan (CPU)': check_native_scan(),
        'configs': f'{vil_mm.CONFIG_DIR} ({len(list_models())} models)',
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog='vil-mm', description=__doc__)
    parser.add_argument(
        '--models',
        nargs='?',
        const='*',
        metavar='PATTERN',
        help="list models, as in 'upernet_*'",
    )
    parser.add_argument(
        '--build-native', action='store_true', help='compile the native scan for CPUs'
    )
    args = parser.parse_args()
    if args.build_native:
        build_native(parser)
    elif args.models is None:
        lines = report()
        width = max(map(len, lines))
        print(*(f'{topic:{width}}  {text}' for topic, text in lines.items()), sep='\n')
    else:
        found = list_models(args.models)
        if not found:
            parser.exit(1, f'vil-mm: no model matches {args.models!r}\n')
        print(*found, sep='\n')


def build_native(parser: argparse.ArgumentParser) -> None:
    """Compile the native scan for the package that runs."""
    try:
        names = build.build()
    except build.BuildError as error:
        parser.exit(1, f'vil-mm: {error}\n')
    print(f'native scan built for {", ".join(names)} in {build.LIBRARIES}')


if __name__ == '__main__':
    main()
