"""The sizes of ViL in the paper, as names for ``VisionLSTM(arch=...)`` and for weights."""

from __future__ import annotations

from typing import NamedTuple


class Architecture(NamedTuple):
    """Channels D of a token, number of directed layers (two per block), and the paper's name."""

    embed_dims: int
    num_layers: int
    title: str


ARCHS = {
    'tiny': Architecture(192, 24, 'ViL-T'),
    'tiny+': Architecture(192, 29, 'ViL-T+'),
    'small': Architecture(384, 24, 'ViL-S'),
    'small+': Architecture(384, 26, 'ViL-S+'),
    'base': Architecture(768, 24, 'ViL-B'),
    'large': Architecture(1024, 48, 'ViL-L'),
}


def find_arch(embed_dims: int, num_layers: int) -> str | None:
    """The key of ``ARCHS`` with these sizes."""
    sizes = embed_dims, num_layers
    return next((name for name, arch in ARCHS.items() if arch[:2] == sizes), None)


def make_arch_option(embed_dims: int, num_layers: int) -> str | dict[str, int]:
    """``arch`` of a ``VisionLSTM`` with these sizes: a name, or both numbers."""
    sizes = {'embed_dims': embed_dims, 'num_layers': num_layers}
    return find_arch(embed_dims, num_layers) or sizes
