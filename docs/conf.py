"""Settings of the documentation site: `make docs`."""

import vil_mm

project = 'vil_mm'
author = 'The vil_mm authors'
project_copyright = f'2026, {author}'
release = version = vil_mm.__version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx-mathjax-offline',
]
exclude_patterns = ['_build']
myst_enable_extensions = ['colon_fence', 'dollarmath', 'amsmath']
myst_heading_anchors = 3

autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
autodoc_typehints_format = 'short'
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = 'furo'
html_title = f'vil_mm {release}'
html_theme_options = {'navigation_with_keys': True}


def _make_readable_from_a_class() -> None:
    """Let mmcv's descriptor of random methods be asked from a class, as napoleon does."""
    from mmcv.transforms.utils import cache_randomness

    of_instance = cache_randomness.__get__
    cache_randomness.__get__ = lambda self, obj, cls: (
        self if obj is None else of_instance(self, obj, cls)
    )


_make_readable_from_a_class()


def _skip_fields_of_tuples(app, what, name, obj, skip, options) -> bool | None:
    """Fields of named tuples have no text but that they are fields."""
    return True if type(obj).__name__ == '_tuplegetter' else None


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect('autodoc-skip-member', _skip_fields_of_tuples)
