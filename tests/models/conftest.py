"""What the tests of this folder have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def mmpretrain_scope() -> Iterator[None]:
    """Whole classifiers are built here; earlier tests may have left another default scope."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield
