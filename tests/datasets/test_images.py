"""Names of what is written of images."""

from __future__ import annotations

import pytest

from vil_mm.datasets.images import distinct_names


@pytest.mark.parametrize(
    ('paths', 'names'),
    [
        (['a/x.png'], ['x']),
        (['a/x.png', 'b/y.jpg'], ['x', 'y']),
        (['a/x.png', 'b/x.png', 'b/y.png'], ['a/x', 'b/x', 'y']),
        (['a/x.png', 'a/x.jpg', 'a/y.jpg'], ['x.png', 'x.jpg', 'y']),
        (['a/x.png', 'a/X.png'], ['x.png', 'X.png']),
        (['a/x.jpg', 'a/x.png', 'a/x.jpg.png'], ['x.jpg', 'x.png', 'x.jpg.png']),
        (['a/x.png', 'a/b/x.png'], ['x', 'b/x']),
        ([], []),
    ],
    ids=str,
)
def test_no_two_names_are_the_same(paths, names) -> None:
    assert [str(name) for name in distinct_names(paths)] == names
