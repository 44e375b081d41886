"""The authors' names of weights, as tables.

Each version has two layouts: 'raw', from the training code, is used in published files and is the
only one with class tokens and several scans per layer; 'inference' is that of the classes in the
authors' torch hub.

                raw                          inference
layer j         xlstm.blocks.{j}             version 1  blocks.{j}
                                             version 2  blocks.{j // 2}.{direction of j % 2}
its norm        .xlstm_norm                  .norm
its rest        .xlstm                       .layer
convolution     version 1  conv1d.conv       version 1  conv1d.conv
                version 2  conv1d            version 2  conv
norm after the
blocks          xlstm.post_blocks_norm       version 1  legacy_norm     version 2  norm
norm after
pooling         head.0                       version 1  norm            version 2  legacy_norm
classifier      head.1                       head
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

DIRECTIONS = ('rowwise_from_top_left', 'rowwise_from_bot_right')
# suffixes of a layer's other scans: from the end, by columns, by columns from the end
SCANS = ('', '_rev', '_du', '_ud')

PATCH, POSITION, CLASS_TOKEN = 'backbone.patch_embed.proj', 'backbone.pos_embed.embed', 'cls_token'
POST_NORM, POOL_NORM, HEAD = 'backbone.norm', 'backbone.pool_norm', 'head.fc'
OPTIONAL = (POOL_NORM, HEAD)  # a file of the backbone alone has neither

# the authors' names inside a scan -> ours; their convolution's name depends on the layout
_IN_SCAN = {
    'q_proj': 'q_proj',
    'k_proj': 'k_proj',
    'v_proj': 'v_proj',
    'mlstm_cell.igate': 'igate',
    'mlstm_cell.fgate': 'fgate',
    'mlstm_cell.outnorm': 'head_norm',
}
_WITH_BIAS_IN_VERSION_1 = ('conv', 'igate', 'fgate')
_NUMBER = r'([0-9]{1,6})'
# our own names: index of the block, the layer in the block, the scan in the layer
OWN_LAYER = re.compile(rf'backbone\.blocks\.{_NUMBER}\.layers\.([01])\.')
OWN_SCAN = re.compile(rf'{OWN_LAYER.pattern}scans\.(?P<scan>[0-9])\.')
_SCAN_END = re.compile(rf'xlstm\.blocks\.{_NUMBER}\.xlstm\.\w+?(?P<end>_rev|_du|_ud)(?:\.|$)')


@dataclass(frozen=True)
class Layout:
    """The authors' names in one layout of one version.

    Attributes:
        name: 'raw' or 'inference'.
        version: Generation of the architecture, 1 or 2.
        layer: Prefix of a layer, with fields for layer, block and direction.
        layer_norm: Name of a layer's norm, below ``layer``.
        body: Prefix of the rest of a layer, below ``layer``.
        conv: Name of the convolution, below ``body``.
        post_norm, pool_norm, head: Names of the modules after the blocks.
        class_token: Name of the class token, if the code supports one.
        max_scans: Maximum number of scans in a layer.
        whole_blocks: Whether the number of layers must be even.
        sign: Pattern of names that identifies the layout; its group is the layer or block number.
    """

    name: str
    version: int
    layer: str
    layer_norm: str
    body: str
    conv: str
    post_norm: str
    pool_norm: str
    head: str
    sign: re.Pattern[str]
    class_token: str | None = None
    max_scans: int = 1
    whole_blocks: bool = False


_RAW_1 = Layout(
    name='raw',
    version=1,
    layer='xlstm.blocks.{layer}',
    layer_norm='xlstm_norm',
    body='xlstm',
    conv='conv1d.conv',
    post_norm='xlstm.post_blocks_norm',
    pool_norm='head.0',
    head='head.1',
    sign=re.compile(rf'xlstm\.blocks\.{_NUMBER}\.xlstm(?:_norm)?\.'),
    class_token='cls_tokens.tokens',
    max_scans=len(SCANS),
)
_INFERENCE_1 = Layout(
    name='inference',
    version=1,
    layer='blocks.{layer}',
    layer_norm='norm',
    body='layer',
    conv='conv1d.conv',
    post_norm='legacy_norm',
    pool_norm='norm',
    head='head',
    sign=re.compile(
        rf'blocks\.{_NUMBER}\.layer\.(?:conv1d|[qkv]_proj|mlstm_cell|learnable_skip)\b'
    ),
)
# In the authors' version 2, the head norm of a second scan has no bias, unlike ours.
_RAW_2 = replace(_RAW_1, version=2, conv='conv1d', class_token=None, max_scans=1)
_INFERENCE_2 = replace(
    _INFERENCE_1,
    version=2,
    layer='blocks.{block}.{direction}',
    conv='conv',
    post_norm='norm',
    pool_norm='legacy_norm',
    sign=re.compile(rf'blocks\.{_NUMBER}\.(?:{"|".join(DIRECTIONS)})\.'),
    whole_blocks=True,
)
LAYOUTS = {
    (layout.name, layout.version): layout for layout in (_RAW_1, _RAW_2, _INFERENCE_1, _INFERENCE_2)
}


@dataclass(frozen=True)
class Naming:
    """A layout with the sizes that determine which names exist."""

    layout: Layout
    num_layers: int
    num_scans: int = 1
    class_token: bool = False

    def table(self) -> dict[str, str]:
        """Map the authors' name of every weight to ours in an mmpretrain ``ImageClassifier``."""
        layout, names = self.layout, {}
        _add(names, 'patch_embed.proj', PATCH)
        names['pos_embed.embed'] = POSITION
        if self.class_token:
            names[layout.class_token] = f'backbone.{CLASS_TOKEN}'
        for layer in range(self.num_layers):
            self._add_layer(names, layer)
        _add(names, layout.post_norm, POST_NORM, bias=layout.version == 2)
        _add(names, layout.pool_norm, POOL_NORM)
        _add(names, layout.head, HEAD)
        return names

    def _add_layer(self, names: dict[str, str], index: int) -> None:
        layout, (block, second) = self.layout, divmod(index, 2)
        bias = layout.version == 2
        theirs = layout.layer.format(layer=index, block=block, direction=DIRECTIONS[second])
        ours = f'backbone.blocks.{block}.layers.{second}'
        _add(names, f'{theirs}.{layout.layer_norm}', f'{ours}.norm', bias)
        for name in ('proj_up', 'proj_down'):
            _add(names, f'{theirs}.{layout.body}.{name}', f'{ours}.{name}', bias)
        modules = {layout.conv: 'conv', **_IN_SCAN}
        for scan, end in enumerate(SCANS[: self.num_scans]):
            into = f'{ours}.scans.{scan}'
            for their_name, our_name in modules.items():
                first, dot, rest = their_name.partition('.')
                their_module = f'{theirs}.{layout.body}.{first}{end}{dot}{rest}'
                with_bias = bias or our_name in _WITH_BIAS_IN_VERSION_1
                _add(names, their_module, f'{into}.{our_name}', with_bias)
            names[f'{theirs}.{layout.body}.learnable_skip{end}'] = f'{into}.skip'


def read_naming(keys: Iterable[str]) -> Naming | None:
    """The naming of official keys; ``None`` if no layout matches."""
    keys = set(keys)
    namings = [naming for layout in LAYOUTS.values() if (naming := _try_layout(layout, keys))]
    return max(namings, key=lambda naming: len(keys & naming.table().keys()), default=None)


def _try_layout(layout: Layout, keys: set[str]) -> Naming | None:
    numbers = {int(found[1]) for found in map(layout.sign.match, keys) if found}
    if not numbers:
        return None
    ends = {found['end'] for found in map(_SCAN_END.match, keys) if found}
    num_scans = len(SCANS) if ends - {'_rev'} else 1 + len(ends)
    return Naming(
        layout,
        num_layers=count_layers(numbers) * (2 if layout.whole_blocks else 1),
        num_scans=min(num_scans, layout.max_scans),
        class_token=layout.class_token in keys,
    )


def count_layers(numbers: set[int]) -> int:
    """Number of layers if they count from 0, including gaps.

    At most twice the number of given indices, so that one absurd number cannot request a table of
    millions of names.
    """
    return min(max(numbers) + 1, 2 * len(numbers))


def _add(names: dict[str, str], theirs: str, ours: str, bias: bool = True) -> None:
    for leaf in ('weight', 'bias')[: 2 if bias else 1]:
        names[f'{theirs}.{leaf}'] = f'{ours}.{leaf}'
