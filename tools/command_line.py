"""Shared parts of the command lines: options, early checks, one-line errors.

Imports nothing heavy, so that ``--help`` and wrong arguments get an immediate answer: tools parse
their arguments before they import torch and vil_mm.

``python tools/command_line.py train.py ARGUMENTS`` only checks a tool's arguments.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.util
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from option_values import read_value

if TYPE_CHECKING:
    from mmengine.config import Config

OVERRIDES_HELP = 'overrides: key=value, a.b.c="[1,2]", a.b="dict(type=\'Name\', key=1)"'


class Refusal(Exception):
    """An argument is invalid. Unlike a ValueError, argparse passes its message on."""


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations and with one-line errors."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_args(self, args=None, namespace=None) -> argparse.Namespace:
        words = sys.argv[1:] if args is None else list(args)
        with one_line_errors(Refusal):
            self._refuse_unknown_options(words)  # before their values are taken for arguments
            known, rest = self.parse_known_args(words, namespace)
            if rest:
                raise Refusal(f'unexpected argument {rest[0]!r} (see --help)')
            return known

    def error(self, message: str) -> None:
        """Exit with one line; argparse would also print the usage."""
        message = message.removeprefix('argument ')
        self.exit(2, f'{self.prog.split()[0]}: {message} (see --help)\n')  # without the sub-command

    def _refuse_unknown_options(self, words: list[str]) -> None:
        known = self._all_options()
        for word in words:
            name = word.split('=')[0]
            if word.startswith('--') and word != '--' and name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f'did you mean {close[0]}?' if close else 'see --help'
                raise Refusal(f'there is no option {name} ({hint})')

    def _all_options(self) -> list[str]:
        names = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                names += [x for parser in action.choices.values() for x in parser._all_options()]
        return names

    def add_config(self, name: str = 'config', help: str = 'config file', **options: Any) -> None:
        """Add a config, given by path or by model name; the value is its path."""
        help += ', or model name from the zoo'
        self.add_argument(name, type=config_file, help=help, **options)

    def add_weights(self) -> None:
        """Add the optional argument ``checkpoint``."""
        self.add_argument(
            'checkpoint',
            nargs='?',
            type=existing('checkpoint'),
            help='weights; default: random',
        )

    def add_cfg_options(self) -> None:
        """Add ``--cfg-options``; the value is a dict."""
        self.add_argument(
            '--cfg-options', nargs='+', action=Overrides, metavar='KEY=VALUE', help=OVERRIDES_HELP
        )

    def add_shape(self, help: str, **options: Any) -> None:
        """Add ``--shape``; the value is (height, width)."""
        self.add_argument(
            '--shape', type=positive, nargs='+', action=Shape, metavar='PIXELS', help=help,
            **options,
        )  # fmt: skip

    def add_device(self) -> None:
        """Add ``--device``; by default None, for the tool to choose."""
        self.add_argument(
            '--device', choices=('cpu', 'cuda'), help='default: cuda if there is a GPU, else cpu'
        )


def run_parser(description: str) -> Parser:
    """A parser with the options of training and testing, as in OpenMMLab's tools."""
    parser = Parser(description=description)
    parser.add_config()
    parser.add_argument(
        '--work-dir', type=folder, help="output folder; default: the config's, or work_dirs/<name>"
    )
    parser.add_cfg_options()
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser


def add_speed_options(parser: Parser) -> None:
    """Add the options of ``vil_mm.measure.model_speed.Setting`` and ``--cfg-options``."""
    parser.add_device()
    parser.add_argument('--batch-size', type=positive, default=1, help='images per call')
    parser.add_argument('--repeat', type=positive, default=20, help='timed calls')
    parser.add_argument(
        '--train-step', action='store_true', help='time a training step instead of a prediction'
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=('auto', 'float16', 'bfloat16'),
        help='autocast; without a value, float16 on a GPU and bfloat16 on a CPU',
    )
    parser.add_argument('--compile', action='store_true', help='compile the backbone')
    parser.add_cfg_options()


def main(
    parser: Parser,
    run: Callable[[argparse.Namespace], None],
    expected: tuple[type[Exception], ...] = (OSError, ValueError),
) -> None:
    """Parse the command line and run a tool; see :func:`one_line_errors`."""
    args = parser.parse_args()
    try:
        with one_line_errors(*expected):
            run(args)
    except KeyboardInterrupt:  # Ctrl-C; the status is that of shells
        print(f'{Path(sys.argv[0]).name}: interrupted', file=sys.stderr)
        raise SystemExit(130) from None


@contextmanager
def one_line_errors(*expected: type[Exception]) -> Iterator[None]:
    """Exit with one line instead of a traceback on errors that users can fix.

    These are the given classes, those defined by the package, and running out of GPU memory. The
    exit code is 2, or the class's ``exit_code``.
    """
    try:
        yield
    except Exception as error:
        code, message = getattr(error, 'exit_code', 2), str(error)
        if hasattr(error, 'as_option'):  # vil_mm.errors.ArgumentError
            message = error.as_option()
        if type(error).__name__ == 'OutOfMemoryError':
            code, message = 1, f'out of memory: {message.splitlines()[0]}'
        elif not isinstance(error, expected) and not _is_own(error):
            raise
        print(f'{Path(sys.argv[0]).name}: {_clip(message)}', file=sys.stderr)
        raise SystemExit(code) from error


def _clip(message: str, most: int = 2000) -> str:
    """A message without the middle of lines that no screen can show."""
    half = most // 2
    lines = message.split('\n')
    return '\n'.join(x if len(x) <= most else f'{x[:half]} … {x[-half:]}' for x in lines)


def _is_own(error: Exception) -> bool:
    return any(kind.__module__.split('.')[0] == 'vil_mm' for kind in type(error).__mro__)


def read_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` with those of the options that the command line has."""
    from vil_mm.runs.reading import read_config

    os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
    return read_config(
        args.config,
        work_dir=getattr(args, 'work_dir', None),
        launcher=getattr(args, 'launcher', 'none'),
        options=getattr(args, 'cfg_options', None),
    )


def config_file(text: str) -> str:
    """The path of a config file, given by path or by model name."""
    with _as_refusal():
        return str(_light_module('zoo').find_config(text))


def existing(kind: str) -> Callable[[str], str]:
    """A check that a file or folder exists; ``kind`` names it in the message."""

    def check(text: str) -> str:
        if '://' not in text:  # the package has a better message for URLs
            with _as_refusal():
                _light_module('files').require(kind, text)
        return text

    return check


def output(*suffixes: str) -> Callable[[str], Path]:
    """A check that an output file has one of these suffixes."""

    def check(text: str) -> Path:
        path = Path(text)
        if path.suffix.lower() not in suffixes or path.is_dir():
            names = ' or '.join(f'*{suffix}' for suffix in suffixes)
            raise argparse.ArgumentTypeError(f'expected the name of a file {names}, got {text!r}')
        return path

    return check


def folder(text: str) -> str:
    """An output folder, which need not exist."""
    path = Path(text)
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise argparse.ArgumentTypeError(f'expected a folder, but {existing} is a file')
    return text


def positive(text: str) -> int:
    """A whole number, at least 1."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a whole number, at least 1, got {text!r}')
    return int(text)


def share(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, 0.0, 1.0, 'expected a number from 0 to 1')


def seconds(text: str) -> float:
    """A time in seconds, at least 0."""
    return _number(text, 0.0, float('inf'), 'expected seconds, 0 or more')


def _number(text: str, low: float, high: float, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float('nan')
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f'{expected}, got {text!r}')
    return value


class Shape(argparse.Action):
    """Converts one side, for a square, or two sides to (height, width)."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        if len(values) > 2:
            raise argparse.ArgumentError(
                self, f'expected one side, or height and width, got {len(values)} numbers'
            )
        setattr(namespace, self.dest, (values[0], values[-1]))


class Overrides(argparse.Action):
    """Collects KEY=VALUE pairs in a dict, see :func:`read_value`."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        options = dict(getattr(namespace, self.dest, None) or {})
        for word in values:
            key, sign, value = word.partition('=')
            if not sign or not key.strip():
                raise argparse.ArgumentError(
                    self, f'expected KEY=VALUE without spaces around =, got {word!r}'
                )
            try:
                options[key.strip()] = read_value(value)
            except ValueError as error:
                raise argparse.ArgumentError(self, f'{key.strip()}: {error}') from error
        setattr(namespace, self.dest, options)


@contextmanager
def _as_refusal() -> Iterator[None]:
    """Keep the message of an error, which argparse would replace with its own."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise Refusal(str(error)) from error


def _light_module(name: str) -> ModuleType:
    """Import a light module of the package without importing the package itself."""
    if 'vil_mm' in sys.modules:
        return importlib.import_module(f'vil_mm.{name}')
    package = importlib.util.find_spec('vil_mm')
    if package is None:
        raise Refusal(
            f'{sys.executable} has no vil_mm: use the Python that has it, such as '
            '.venv/bin/python from make env'
        )
    path = Path(package.submodule_search_locations[0], f'{name}.py')
    spec = importlib.util.spec_from_file_location(f'_light_{name}', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module there
    spec.loader.exec_module(module)
    return module


def _check_only() -> None:
    """Parse another tool's arguments and exit."""
    sys.argv = sys.argv[1:]
    tool = Path(__file__).parent / Path(*sys.argv[:1]).name
    if not tool.is_file():
        raise SystemExit('usage: command_line.py TOOL.py ARGUMENTS')
    runpy.run_path(str(tool), run_name='arguments')['make_parser']().parse_args()


if __name__ == '__main__':
    _check_only()
