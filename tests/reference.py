"""Vision-LSTM the slow and obvious way, from a state dict: one token after the other.

It shares no code with the package. Token orders are lists of indices, sequences are gathered and
scattered, convolutions and the mLSTM are loops over tokens; only for tests.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
EPS = 1e-6

# orders of layer j: entry j modulo their number; the paper's names in its own words
DESIGNS = {
    'unidirectional': [['natural']],
    'bidirectional': [['natural', 'reversed']],
    'bidirectional_shared': [['natural', 'reversed']],
    'alternating': [['natural'], ['reversed']],
    'quad': [['natural', 'reversed', 'column-major', 'column-major reversed']],
    'quad_shared': [['natural', 'reversed', 'column-major', 'column-major reversed']],
    'alternating_quad': [['natural'], ['reversed'], ['column-major'], ['column-major reversed']],
}


def vision_lstm(
    w: State,
    images: Tensor,
    *,
    version: int,
    traversal: str,
    num_layers: int,
    stride: int,
    out_type: str,
) -> Tensor:
    """Images (B, C, H, W) to the output of the last block, normed and pooled."""
    x = F.conv2d(images, w['patch_embed.proj.weight'], w['patch_embed.proj.bias'], stride)
    height, width = x.shape[-2:]
    embed = w['pos_embed.embed'].permute(0, 3, 1, 2)
    x = x + F.interpolate(embed, (height, width), mode='bicubic')
    tokens = [x[:, :, i, j] for i in range(height) for j in range(width)]
    if out_type == 'middle_cls':
        tokens.insert(math.ceil(len(tokens) / 2), w['cls_token'][0].expand(len(images), -1))
    x = torch.stack(tokens, dim=1)
    for j in range(num_layers):
        prefix = f'blocks.{j // 2}.layers.{j % 2}.'
        design = DESIGNS[traversal]
        x = x + layer(sub(w, prefix), x, (height, width), design[j % len(design)], version)
    x = layer_norm(x, 1 + w['norm.weight'], w.get('norm.bias'), 1e-5 if version == 1 else 1e-6)
    x = pooled(x, out_type)
    if out_type == 'raw':
        return x
    eps = 1e-6 if version == 1 else 1e-5
    return layer_norm(x, w['pool_norm.weight'], w['pool_norm.bias'], eps)


def layer(w: State, x: Tensor, grid: tuple[int, int], orders: list[str], version: int) -> Tensor:
    x = layer_norm(x, 1 + w['norm.weight'], w.get('norm.bias'), 1e-5)
    x, z = F.linear(x, w['proj_up.weight'], w.get('proj_up.bias')).chunk(2, dim=-1)
    own_weights = 'scans.1.skip' in w
    total = torch.zeros_like(x)
    for number, name in enumerate(orders):
        order, frame = token_order(name, grid, x.shape[1])
        scanned = scan(
            sub(w, f'scans.{number if own_weights else 0}.'), x[:, order], frame, version
        )
        back = torch.empty_like(scanned)
        back[:, order] = scanned
        total = total + back * F.silu(z)
    return F.linear(total, w['proj_down.weight'], w.get('proj_down.bias'))


def token_order(name: str, grid: tuple[int, int], length: int) -> tuple[list[int], tuple[int, int]]:
    """Token indices in the order in which they are read, and the grid they then fill by rows."""
    height, width = grid
    if length != height * width:  # a class token among them: a sequence
        order, frame = list(range(length)), (1, length)
    elif name.startswith('column-major'):
        order = [y * width + x for x in range(width) for y in range(height)]
        frame = (width, height)
    else:
        order, frame = [y * width + x for y in range(height) for x in range(width)], grid
    return (order[::-1] if name.endswith('reversed') else order), frame


def scan(w: State, x: Tensor, frame: tuple[int, int], version: int) -> Tensor:
    """(B, S, E) in the order in which it is read, to the same."""
    a = F.silu(causal_conv(w, x) if version == 1 else grid_conv(w, x, frame))
    q, k = block_diagonal(w, 'q_proj', a), block_diagonal(w, 'k_proj', a)
    v = block_diagonal(w, 'v_proj', x)
    qkv = torch.cat([q, k, v], dim=-1)
    igate = F.linear(qkv, w['igate.weight'], w['igate.bias'])
    fgate = F.linear(qkv, w['fgate.weight'], w['fgate.bias'])
    size = x.shape[-1] // 4
    heads = []
    for head in range(4):
        channels = slice(head * size, (head + 1) * size)
        h = cell(
            q[..., channels], k[..., channels], v[..., channels], igate[..., head], fgate[..., head]
        )
        heads.append(layer_norm(h, torch.ones(size).to(h), None, 1e-5))
    y = torch.cat(heads, dim=-1) * (1 + w['head_norm.weight'])
    return y + w.get('head_norm.bias', 0) + w['skip'] * a


def causal_conv(w: State, x: Tensor) -> Tensor:
    taps = w['conv.weight'][:, 0]  # (E, 4), the last one for the token itself
    out = []
    for t in range(x.shape[1]):
        total = w['conv.bias'].expand(len(x), -1)
        for tap in range(4):
            if t - 3 + tap >= 0:
                total = total + taps[:, tap] * x[:, t - 3 + tap]
        out.append(total)
    return torch.stack(out, dim=1)


def grid_conv(w: State, x: Tensor, frame: tuple[int, int]) -> Tensor:
    height, width = frame
    out = []
    for t in range(x.shape[1]):
        total = w['conv.bias'].expand(len(x), -1)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                row, column = t // width + dy, t % width + dx
                if 0 <= row < height and 0 <= column < width:
                    tap = w['conv.weight'][:, 0, dy + 1, dx + 1]
                    total = total + tap * x[:, row * width + column]
        out.append(total)
    return torch.stack(out, dim=1)


def block_diagonal(w: State, name: str, x: Tensor) -> Tensor:
    bias = w.get(f'{name}.bias')
    return F.linear(x, torch.block_diag(*w[f'{name}.weight']), bias)


def cell(q: Tensor, k: Tensor, v: Tensor, igate: Tensor, fgate: Tensor) -> Tensor:
    """One head: q, k, v (B, S, DH), gates (B, S); the sums of the definition, written out."""
    log_forget = F.logsigmoid(fgate)
    out = []
    for t in range(q.shape[1]):
        log_weight = torch.stack(
            [igate[:, s] + log_forget[:, s + 1 : t + 1].sum(1) for s in range(t + 1)], dim=1
        )
        stabiliser = log_weight.max(1, keepdim=True).values
        scores = (q[:, t : t + 1] * k[:, : t + 1]).sum(-1) / math.sqrt(q.shape[-1])
        weight = scores * torch.exp(log_weight - stabiliser)
        normalizer = torch.maximum(weight.sum(1, keepdim=True).abs(), torch.exp(-stabiliser)) + EPS
        out.append((weight[..., None] * v[:, : t + 1]).sum(1) / normalizer)
    return torch.stack(out, dim=1)


def pooled(x: Tensor, out_type: str) -> Tensor:
    length = x.shape[1]
    if out_type == 'raw':
        return x
    if out_type == 'bilateral_concat':
        return torch.cat([x[:, 0], x[:, length - 1]], dim=-1)
    if out_type == 'bilateral_avg':
        return 0.5 * x[:, 0] + 0.5 * x[:, length - 1]
    if out_type == 'avg':
        return sum(x[:, t] for t in range(length)) / length
    patches = length - 1 if out_type == 'middle_cls' else length
    places = {
        'first': 0,
        'last': length - 1,
        'middle_patch': patches // 2,
        'middle_cls': math.ceil(patches / 2),
    }
    return x[:, places[out_type]]


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    x = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + eps) * weight
    return x if bias is None else x + bias


def sub(w: State, prefix: str) -> State:
    return {key.removeprefix(prefix): value for key, value in w.items() if key.startswith(prefix)}
