"""mmengine's objects in checkpoints: rebuilt from plain values, without running code.

The log history is pickled beside the weights as ``HistoryBuffer`` objects with NumPy arrays, and
the schedule ``OneCycleLR`` with one of its functions. The real classes and functions would let a
crafted file reach Python's builtins; these stand-ins only keep plain values, and
:func:`restore_histories` makes the objects from them.
"""

from __future__ import annotations

import pickle
import re

import numpy as np

ANNEALINGS = ('_annealing_cos', '_annealing_linear')  # of OneCycleLR
_NUMBERS = re.compile(r'[fiu][1248]|b1')  # NumPy's codes of plain numbers


class _Type:
    """Stands in for ``numpy.dtype``, of plain numbers."""

    def __init__(self, code: object = '', *args: object) -> None:
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise pickle.UnpicklingError(f'Unsupported type of numbers: {code!r}')
        self.real = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ('<', '>'):
            self.real = self.real.newbyteorder(state[1])


class _Array:
    """Stands in for ``numpy.ndarray``, of plain numbers."""

    real = np.zeros(0)

    def __setstate__(self, state: object) -> None:
        try:
            _, shape, dtype, by_columns, raw = state
            values = np.frombuffer(raw, dtype.real)
            self.real = values.reshape(shape, order='F' if by_columns else 'C').copy()
        except (AttributeError, TypeError, ValueError) as error:
            raise pickle.UnpicklingError(f'Unsupported array: {error}') from error


class _History:
    """Stands in for ``HistoryBuffer``; takes nothing but a plain dict."""

    state: dict

    def __init__(self, *args: object) -> None:
        self.state = {}

    def __setstate__(self, state: object) -> None:
        if type(state) is not dict:
            raise pickle.UnpicklingError(f'Trying to set a {type(state).__name__}')
        if wrong := [key for key in state if not isinstance(key, str) or key.startswith('__')]:
            raise pickle.UnpicklingError(f'Trying to set {sorted(map(str, wrong))}')
        self.__dict__ = {'state': dict(state)}


class _Method:
    """Stands in for one of the statistics of ``HistoryBuffer``, which it brings itself."""


class _OneCycle:
    """Stands in for the class of ``OneCycleLR``, whose function of annealing is pickled."""


class _Annealing:
    """Stands in for that function; takes no state."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError(f'Trying to set a {type(state).__name__}')


def _take_attribute(owner: object, name: object) -> _Method | _Annealing:
    """Stands in for ``getattr``, by which functions of a class are pickled."""
    if owner is _OneCycle and name in ANNEALINGS:
        return _Annealing(name)
    if owner is not _History or not isinstance(name, str) or name.startswith('_'):
        raise pickle.UnpicklingError(f'Trying to get the attribute {name!r} of {owner!r}')
    return _Method()


def _make_array(*args: object) -> _Array:
    return _Array()


def _make_scalar(dtype: object, raw: object) -> float | int | bool:
    try:
        return np.frombuffer(raw, dtype.real)[0].item()
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise pickle.UnpicklingError(f'Unsupported number: {error}') from error


STAND_INS = [
    (_take_attribute, 'builtins.getattr'),
    (_OneCycle, 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'),
    (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_Array, 'numpy.ndarray'),
    (_Type, 'numpy.dtype'),
    *(
        (stand_in, f'numpy.{core}.multiarray.{function}')  # NumPy 1 and 2
        for core in ('core', '_core')
        for function, stand_in in (('_reconstruct', _make_array), ('scalar', _make_scalar))
    ),
]


def restore_histories(value: object) -> object:
    """Replace stand-ins in nested dicts, lists and tuples by what they stand for, in place."""
    if isinstance(value, _Array):
        return value.real
    if isinstance(value, _History):
        return _restore_history(value)
    if isinstance(value, _Annealing):
        from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

        return getattr(OneCycleParamScheduler, value.name)
    if isinstance(value, dict):
        for key in value:
            value[key] = restore_histories(value[key])
    elif isinstance(value, list):
        value[:] = [restore_histories(x) for x in value]
    elif type(value) is tuple:
        return tuple(restore_histories(x) for x in value)
    return value


def _restore_history(stand_in: _History) -> object:
    from mmengine.logging import HistoryBuffer  # not needed to read weights alone

    state = getattr(stand_in, 'state', {})
    found = [getattr(state.get(key), 'real', None) for key in ('_log_history', '_count_history')]
    most = state.get('max_length')
    if not all(isinstance(x, np.ndarray) and x.ndim == 1 for x in found):
        raise pickle.UnpicklingError('Unsupported log history')
    if len(found[0]) != len(found[1]) or type(most) is not int or most < 1:
        raise pickle.UnpicklingError('Unsupported log history')
    return HistoryBuffer(*found, max_length=most)
