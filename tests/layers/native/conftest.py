"""The compiled scan: built here if it is not, where there is a compiler."""

from __future__ import annotations

import pytest

from vil_mm.layers.native import build, library


@pytest.fixture(scope='session', autouse=True)
def built() -> None:
    if library.load().library is None:
        try:
            build.build()
        except build.BuildError as error:
            pytest.skip(str(error))
        library.load.cache_clear()
    assert library.load().reason is None
