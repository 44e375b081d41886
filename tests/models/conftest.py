"""What the tests of this folder have in common."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def use_mmpretrain(mmpretrain_scope: None) -> None:
    """Whole classifiers are built here."""
