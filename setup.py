"""Packaging of vil_mm. Settings of tools: pyproject.toml; the tested pins: constraints.txt."""

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

from setuptools import Distribution, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

INSTALL_REQUIRES = [
    'torch>=2.7',  # the first with torch.compiler.is_exporting (mlstm/chunkwise.py)
    'einops>=0.8',  # named axes; the first that torch.compile takes as it is
    'tifffile',  # TIFF of any number of bands: OpenCV and Pillow lose or refuse all but some
    'safetensors',  # weights in a format that cannot hold code, wherever .pth is accepted
    'numpy',  # images and label maps of datasets/, measure/ and pictures/
]

LINUX_TRITON = 'triton; sys_platform == "linux"'  # there are no builds for other systems

# The OpenMMLab packages are extras and no hard requirements: both families below install the same
# modules (mmengine, mmcv, ...), so requiring one would overwrite the other in a user's environment.
EXTRAS_REQUIRE = {
    'onedl': [  # the maintained forks, same import names: the default stack
        'onedl-mmengine>=0.10.12,<0.11',
        'onedl-mmcv>=2.3.6,<2.4',
        'onedl-mmsegmentation>=1.4.2,<1.5',
        'onedl-mmpretrain>=1.3.6,<1.4',
        'torchvision',  # imported by mmpretrain, which does not declare it
        'setuptools; python_version >= "3.12"',  # collect_env of mmengine imports distutils
    ],
    'openmmlab': [  # the originals; mmcv has to be compiled, mmcv-lite is not enough for mmseg
        'mmengine>=0.10.7',
        'mmcv>=2.1,<2.2',
        'mmsegmentation>=1.2.2',
        'mmpretrain>=1.2.0',
        'ftfy',  # imported by mmseg, which does not declare it
        'regex',  # the same
        'torchvision',
        'setuptools<81',  # the build of mmcv imports pkg_resources, which newer ones lack
    ],
    'det': [  # on top of [onedl]; every model of mmdet needs an mmcv with compiled operators:
        # pip wheel --no-build-isolation --no-deps --no-cache-dir --no-binary onedl-mmcv onedl-mmcv
        'onedl-mmdetection>=3.5.1,<3.6',
    ],
    'gpu': [LINUX_TRITON],  # the fused kernels; torch for CUDA on Linux already brings it
    'export': [  # tools/export.py
        'onnx',  # the format
        'onnxscript',  # torch.onnx.export builds its graphs with it
        'onnxruntime',  # runs what was written, for comparison
    ],
    'log': ['tensorboard', 'wandb'],  # log_to of a config
    'docs': [  # the site
        'sphinx',
        'myst-parser',  # pages in Markdown
        'furo',  # its look
        'sphinx-mathjax-offline',  # formulas without a network
    ],
}
EXTRAS_REQUIRE['test'] = [
    'pytest',
    'pytest-xdist',  # runs the quick tests on every core
    'ruff',
    LINUX_TRITON,  # the kernels' tests: interpreted, and compiled ahead of time, without a GPU
    'uv',  # resolves the pins for other Pythons and platforms
    *EXTRAS_REQUIRE['export'],
    *EXTRAS_REQUIRE['log'],
    *EXTRAS_REQUIRE['docs'],
]


def load_native() -> ModuleType:
    """vil_mm/layers/native/build.py, without importing the package, which needs torch."""
    path = ROOT / 'vil_mm' / 'layers' / 'native' / 'build.py'
    spec = importlib.util.spec_from_file_location('vil_mm_native_build', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


native = load_native()


class BuildWithMim(build_py):
    """Compiles the native scan, and puts configs/, tools/ and model-index.yml into `.mim/`.

    `.mim/` is where OpenMMLab's mim looks for them, and vil_mm.apis.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # then the repository's own folders are used
            build_native(native.LIBRARIES)
            return
        build_native(Path(self.build_lib, native.LIBRARIES.relative_to(ROOT)))
        for folder in ('configs', 'tools'):
            target = Path(self.build_lib, 'vil_mm', '.mim', folder)
            shutil.rmtree(target, ignore_errors=True)  # left by an earlier build
            shutil.copytree(ROOT / folder, target, ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy(ROOT / 'model-index.yml', Path(self.build_lib, 'vil_mm', '.mim'))


def build_native(folder: Path) -> None:
    """Without a compiler everything works, only slower on a CPU: one line says so."""
    try:
        names = ', '.join(native.build(folder))
    except native.BuildError as error:
        print(f'vil_mm: no native scan for the CPU ({error}); plain PyTorch runs instead')
    else:
        print(f'vil_mm: native scan for the CPU built for {names}')


class MaybeNative(Distribution):
    """Its wheel is for one platform if it holds compiled code."""

    def has_ext_modules(self) -> bool:
        try:
            return bool(native.find_compiler())
        except native.BuildError:
            return False


class WheelForAnyPython(bdist_wheel):
    """The compiled code knows neither Python nor PyTorch."""

    def get_tag(self) -> tuple[str, str, str]:
        tag = super().get_tag()
        return ('py3', 'none', tag[2]) if self.distribution.has_ext_modules() else tag


def read_version() -> str:
    text = (ROOT / 'vil_mm' / 'version.py').read_text(encoding='utf-8')
    found = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    if found is None:
        raise RuntimeError("vil_mm/version.py has no line __version__ = '...'")
    return found.group(1)


def read_readme() -> str:
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.is_file() else ''


setup(
    name='vil_mm',
    version=read_version(),
    description='Vision-LSTM (ViL) backbones for OpenMMLab',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    author='The vil_mm authors',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords=['computer vision', 'semantic segmentation', 'xLSTM', 'Vision-LSTM', 'OpenMMLab'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.11',
    packages=find_packages(include=['vil_mm', 'vil_mm.*']),
    package_data={
        'vil_mm.datasets': ['imagenet_wnids.txt'],
        'vil_mm.layers.native': ['source/*'],
    },
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={'console_scripts': ['vil-mm = vil_mm.__main__:main']},
    distclass=MaybeNative,
    cmdclass={'build_py': BuildWithMim, 'bdist_wheel': WheelForAnyPython},
    zip_safe=False,
)
