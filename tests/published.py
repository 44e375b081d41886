"""Weights as the authors' training code names them, written down from the paper's structure.

Shares no code or table with the package; only for tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = dict[str, Tensor]


class Row(NamedTuple):
    """A published file: its name, the model in it, and how many parameters that has."""

    file: str
    version: int
    dim: int
    layers: int
    stride: int
    parameters: int


HUB = {
    'vil2-tiny': Row('vil2_tiny16_e800_in1k.th', 2, 192, 24, 16, 6_391_528),
    'vil2-tiny-e400': Row('vil2_tiny16_e400_in1k.th', 2, 192, 24, 16, 6_391_528),
    'vil2-small': Row('vil2_small16_e400_in1k.th', 2, 384, 24, 16, 23_398_696),
    'vil2-base': Row('vil2_base16_e400_in1k.th', 2, 768, 24, 16, 89_263_528),
    'vil-tiny': Row('vil_tiny16_e800_in1k.th', 1, 192, 24, 16, 6_088_360),
    'vil-tiny-e400': Row('vil_tiny16_e400_in1k.th', 1, 192, 24, 16, 6_088_360),
    'vil-tinyplus': Row('vil_tinyplus16_e800_in1k.th', 1, 192, 29, 16, 7_277_840),
    'vil-tinyplus-e400': Row('vil_tinyplus16_e400_in1k.th', 1, 192, 29, 16, 7_277_840),
    'vil-tinyplus-stride8': Row('vil_tinyplus16_e800_in1k.th', 1, 192, 29, 8, 7_277_840),
    'vil-small': Row('vil_small16_e400_in1k.th', 1, 384, 24, 16, 22_792_360),
    'vil-smallplus': Row('vil_smallplus16_e400_in1k.th', 1, 384, 26, 16, 24_628_664),
    'vil-smallplus-stride8': Row('vil_smallplus16_e400_in1k_stride8.th', 1, 384, 26, 8, 24_628_664),
    'vil-base': Row('vil_base16_e400_in1k.th', 1, 768, 24, 16, 88_050_856),
    'vil-base-stride8': Row('vil_base16_e400_in1k_stride8.th', 1, 768, 24, 8, 88_050_856),
}


def raw_weights(
    version: int,
    dim: int,
    layers: int,
    *,
    patch: int = 16,
    grid: tuple[int, int] = (14, 14),
    classes: int = 1000,
    pooled: int | None = None,
    scans: tuple[str, ...] = ('',),
    class_token: bool = False,
    device: str = 'cpu',
) -> State:
    """Seeded weights; ``scans`` are the ends of the names of a layer's scans.

    On the device 'meta' there are shapes and no numbers.
    """
    bias, inner, state = version == 2, 2 * dim, {}
    pooled = pooled or (2 * dim if version == 2 else dim)
    generator = torch.Generator().manual_seed(dim + layers)

    def add(name: str, *shape: int) -> None:
        empty = torch.empty(shape, device=device)
        state[name] = empty if empty.is_meta else empty.normal_(std=0.05, generator=generator)

    def both(name: str, *shape: int, outputs: int | None = None, has_bias: bool = True) -> None:
        add(f'{name}.weight', *shape)
        if has_bias:
            add(f'{name}.bias', outputs or shape[0])

    both('patch_embed.proj', dim, 3, patch, patch)
    add('pos_embed.embed', 1, *grid, dim)
    if class_token:
        add('cls_tokens.tokens', 1, 1, dim)
    for j in range(layers):
        both(f'xlstm.blocks.{j}.xlstm_norm', dim, has_bias=bias)
        layer = f'xlstm.blocks.{j}.xlstm.'
        both(f'{layer}proj_up', 4 * dim, dim, has_bias=bias)
        for end in scans:
            if version == 1:
                both(f'{layer}conv1d{end}.conv', inner, 1, 4)
            else:
                both(f'{layer}conv1d{end}', inner, 1, 3, 3)
            for letter in 'qkv':
                name = f'{layer}{letter}_proj{end}'
                both(name, inner // 4, 4, 4, outputs=inner, has_bias=bias)
            both(f'{layer}mlstm_cell{end}.igate', 4, 3 * inner)
            both(f'{layer}mlstm_cell{end}.fgate', 4, 3 * inner)
            both(f'{layer}mlstm_cell{end}.outnorm', inner, has_bias=bias)
            add(f'{layer}learnable_skip{end}', inner)
        both(f'{layer}proj_down', dim, inner, has_bias=bias)
    both('xlstm.post_blocks_norm', dim, has_bias=bias)
    both('head.0', pooled)
    both('head.1', classes, pooled)
    return state


def inference_key(key: str, version: int) -> str:
    """A raw name in the authors' inference class, by textual replacement as their hub does it."""
    key = key.replace('.xlstm.', '.layer.').replace('xlstm.', '', 1).replace('xlstm_norm', 'norm')
    if key.startswith('post_blocks_norm'):
        return key.replace('post_blocks_norm', 'legacy_norm' if version == 1 else 'norm')
    if key.startswith('head.0'):
        return key.replace('head.0', 'norm' if version == 1 else 'legacy_norm')
    key = key.replace('head.1', 'head')
    if version == 2 and key.startswith('blocks.'):
        _, j, rest = key.split('.', 2)
        side = ('top_left', 'bot_right')[int(j) % 2]
        rest = rest.replace('conv1d', 'conv')
        return f'blocks.{int(j) // 2}.rowwise_from_{side}.{rest}'
    return key


def inference_weights(raw: State, version: int) -> State:
    return {inference_key(key, version): value for key, value in raw.items()}


def write_published(path: Path, raw: State) -> Path:
    """A file with what the training code puts beside the weights."""
    beside = {
        'ctor_kwargs': {'dim': 1, 'kind': 'x'},
        'ckpt': 'last',
        'abs_ckpt': '',
        'stage_id': 'a',
    }
    torch.save({'state_dict': raw, **beside}, path)
    return path


@torch.no_grad()
def assemble(backbone: nn.Module, raw: State) -> nn.Module:
    """Put raw weights into a ``VisionLSTM``, module by module; returns it in evaluation mode."""

    def put(module: nn.Module, name: str) -> None:
        module.weight.copy_(raw[f'{name}.weight'])
        if getattr(module, 'bias', None) is not None:
            module.bias.copy_(raw[f'{name}.bias'])

    put(backbone.patch_embed.proj, 'patch_embed.proj')
    backbone.pos_embed.embed.copy_(resized(raw, backbone.pos_embed.embed.shape[1:3]))
    if getattr(backbone, 'cls_token', None) is not None:
        backbone.cls_token.copy_(raw['cls_tokens.tokens'])
    for j, layer in enumerate(layer for block in backbone.blocks for layer in block.layers):
        put(layer.norm, f'xlstm.blocks.{j}.xlstm_norm')
        inside = f'xlstm.blocks.{j}.xlstm.'
        put(layer.proj_up, f'{inside}proj_up')
        put(layer.proj_down, f'{inside}proj_down')
        for scan, end in zip(layer.scans, ('', '_rev', '_du', '_ud'), strict=False):
            put(scan.conv, f'{inside}conv1d{end}{".conv" if backbone.version == 1 else ""}')
            put(scan.q_proj, f'{inside}q_proj{end}')
            put(scan.k_proj, f'{inside}k_proj{end}')
            put(scan.v_proj, f'{inside}v_proj{end}')
            put(scan.igate, f'{inside}mlstm_cell{end}.igate')
            put(scan.fgate, f'{inside}mlstm_cell{end}.fgate')
            put(scan.head_norm, f'{inside}mlstm_cell{end}.outnorm')
            scan.skip.copy_(raw[f'{inside}learnable_skip{end}'])
    if not isinstance(backbone.norm, nn.Identity):
        put(backbone.norm, 'xlstm.post_blocks_norm')
    if not isinstance(backbone.pool_norm, nn.Identity):
        put(backbone.pool_norm, 'head.0')
    return backbone.eval()


def resized(raw: State, grid: tuple[int, int]) -> Tensor:
    """The position embedding, bicubic, in the grid that is asked for."""
    embed = raw['pos_embed.embed']
    if tuple(grid) == tuple(embed.shape[1:3]):
        return embed
    return F.interpolate(embed.movedim(-1, 1), size=tuple(grid), mode='bicubic').movedim(1, -1)
