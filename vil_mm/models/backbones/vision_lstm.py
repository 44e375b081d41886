"""The Vision-LSTM backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from vil_mm.checkpoints.loading import load_backbone, refuse_official, split_pretrained
from vil_mm.layers import (
    POOLINGS,
    TRAVERSALS,
    OffsetLayerNorm,
    PatchEmbedding,
    PositionEmbedding,
    ViLBlock,
    ViLLayer,
    insert_middle,
    pool,
)
from vil_mm.layers.scan import SCAN_BACKENDS
from vil_mm.models.backbones.options import (
    OptionError,
    read_arch,
    read_choice,
    read_flag,
    read_grid,
    read_int,
    read_out_indices,
    read_rate,
    read_side,
)

OUT_TYPES = ('featmap', 'raw', *POOLINGS)


@dataclass(frozen=True)
class Version:
    """Differences between the generations of the architecture.

    Attributes:
        conv: Local mixing of tokens, see :class:`vil_mm.layers.Scan`.
        bias: Whether projections and norms have biases.
        norm_eps: eps of the norm after the blocks.
        pool_norm_eps: eps of the norm after pooling.
    """

    conv: str
    bias: bool
    norm_eps: float
    pool_norm_eps: float


# As in each version's published inference code; version 2's swaps the two eps used in training.
VERSIONS = {
    1: Version('causal_conv1d', bias=False, norm_eps=1e-5, pool_norm_eps=1e-6),
    2: Version('conv2d', bias=True, norm_eps=1e-6, pool_norm_eps=1e-5),
}


@MODELS.register_module()
class VisionLSTM(BaseModule):
    """Vision-LSTM (ViL): mLSTM layers that read the patch grid in turn from both ends.

    Alkin et al., "Vision-LSTM: xLSTM as Generic Vision Backbone", ICLR 2025 (version 2; version 1
    is arXiv:2406.04303v1). Its cost is linear in the number of pixels. Height and width may change
    with every call, also in training. Sides not divisible by the patch size are padded at the
    bottom and right, and maps cover the padded image; in mmsegmentation,
    ``data_preprocessor=dict(test_cfg=dict(size_divisor=16))`` pads images first and removes the
    padding from predictions.

    Args:
        arch: 'tiny', 'tiny+', 'small', 'small+', 'base', 'large', or a dict with ``embed_dims``
            (divisible by 4) and ``num_layers``.
        version: Generation of the architecture. Version 2 mixes neighbours by a 3x3 convolution on
            the grid and has biases everywhere; version 1 mixes each token with the three before it
            in the sequence and has no biases in projections and in norms before pooling.
        img_size: Side in pixels, or (H, W), of the position embedding. It is resized for images of
            other sizes.
        patch_size: Side of a patch in pixels.
        stride: Pixels from one patch to the next; ``None`` for the patch size. The position
            embedding keeps the size for non-overlapping patches and is resized.
        in_channels: Channels of the image.
        out_indices: Blocks (0-based, ascending; negative counts from the last) whose output is
            returned. Later blocks are not run and get no gradient: distributed training then needs
            ``find_unused_parameters=True``.
        out_type: 'featmap' (B, D, Hg, Wg), where the single row or column of a tiny image is
            repeated, so that pyramids can halve the map; 'raw' (B, S, D); or a pooling:
            'bilateral_concat' (B, 2D, version 2's) or 'bilateral_avg' (B, D, version 1's) of the
            first and last token; 'avg' of all tokens; 'first', 'last' or 'middle_patch' for a
            single token; 'middle_cls' for a learnable token in the middle of the sequence (only for
            version 1 and scans by rows, since the tokens no longer form a grid).
        drop_path_rate: Share of images that skip a layer in training.
        drop_path_decay: Increase the rate linearly from 0 at the first layer to ``drop_path_rate``
            at the last.
        final_norm: Apply the norm after the blocks to the last block's output and, if it is pooled,
            the norm after pooling. Other outputs are never normalised.
        frozen_stages: -1 freezes nothing, 0 the embeddings, n also the first n blocks, and the
            number of blocks everything.
        with_cp: Use activation checkpointing in every layer.
        traversal: Orders in which layers visit the grid, the paper's block designs.
            'alternating' is ViL: by rows, in turn from the top left and from the bottom right.
            'unidirectional' only reads from the top left; 'bidirectional' sums both directions in
            every layer; 'quad' adds the two scans by columns; 'alternating_quad' takes the four in
            turn. Scans of one layer have separate weights, or with '_shared' the same. Version 2's
            convolution acts on the grid as the scan reads it: reversed or transposed.
        mlstm_backend: A backend of :func:`vil_mm.mlstm.mlstm`, or 'native': scans in C++ on a CPU.
        init_cfg: mmengine's initialisation; ``dict(type='Pretrained', checkpoint=...)`` takes a
            checkpoint of this package or an official one and fails if a weight is missing. With
            ``adapt_channels=True``, RGB weights are adapted to ``in_channels``, see
            :func:`vil_mm.checkpoints.loading.adapt_patch_embedding`.

    Raises:
        OptionError: An option has the wrong type or is out of range; a subclass of ValueError.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        version: int = 2,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        stride: int | None = None,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        out_type: str = 'featmap',
        drop_path_rate: float = 0.0,
        drop_path_decay: bool = False,
        final_norm: bool = True,
        frozen_stages: int = -1,
        with_cp: bool = False,
        traversal: str = 'alternating',
        mlstm_backend: str = 'auto',
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.embed_dims, num_layers = read_arch(arch)
        self.version = read_choice('version', version, tuple(VERSIONS))
        self.out_type = read_choice('out_type', out_type, OUT_TYPES)
        self.traversal = read_choice('traversal', traversal, tuple(TRAVERSALS))
        read_choice('mlstm_backend', mlstm_backend, SCAN_BACKENDS)
        if out_type == 'middle_cls':
            _check_sequence(version, traversal)
        num_blocks = (num_layers + 1) // 2
        self.out_indices = read_out_indices(out_indices, num_blocks)
        self.frozen_stages = read_int('frozen_stages', frozen_stages, minimum=-1)
        if self.frozen_stages > num_blocks:
            raise OptionError(f'frozen_stages must be in [-1, {num_blocks}], got {frozen_stages}')

        patch_size = read_side('patch_size', patch_size)
        stride = patch_size if stride is None else read_side('stride', stride)
        in_channels = read_int('in_channels', in_channels)
        self.patch_embed = PatchEmbedding(in_channels, self.embed_dims, patch_size, stride)
        self.pos_embed = PositionEmbedding(read_grid(img_size, patch_size), self.embed_dims)
        self.cls_token = None
        if out_type == 'middle_cls':
            self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, self.embed_dims))
        last_rate = read_rate('drop_path_rate', drop_path_rate)
        first_rate = 0.0 if read_flag('drop_path_decay', drop_path_decay) else last_rate
        rates = np.linspace(first_rate, last_rate, num_layers).tolist()
        self._add_blocks(rates, read_flag('with_cp', with_cp), mlstm_backend)
        self._add_norms(read_flag('final_norm', final_norm))
        self._freeze()
        self.register_load_state_dict_pre_hook(refuse_official)

    def _add_blocks(self, rates: list[float], with_cp: bool, mlstm_backend: str) -> None:
        """Add blocks of two layers, one layer per drop path rate."""
        version, traversal = VERSIONS[self.version], TRAVERSALS[self.traversal]
        layers = [
            ViLLayer(
                self.embed_dims,
                traversal.orders(index),
                traversal.shared,
                version.conv,
                version.bias,
                rate,
                mlstm_backend,
            )
            for index, rate in enumerate(rates)
        ]
        self.blocks = nn.ModuleList(
            ViLBlock(layers[first : first + 2], with_cp) for first in range(0, len(layers), 2)
        )

    def _add_norms(self, final_norm: bool) -> None:
        """Add ``norm`` after the blocks and ``pool_norm`` after pooling, if they are used."""
        self.norm, self.pool_norm = nn.Identity(), nn.Identity()
        if not final_norm or self.out_indices[-1] != len(self.blocks) - 1:
            return
        version = VERSIONS[self.version]
        self.norm = OffsetLayerNorm(self.embed_dims, version.norm_eps, version.bias)
        if self.out_type in POOLINGS:
            width = POOLINGS[self.out_type] * self.embed_dims
            self.pool_norm = nn.LayerNorm(width, version.pool_norm_eps)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images ``(B, C, H, W)`` to one output per entry of ``out_indices``."""
        x = self.pos_embed(self.patch_embed(images))
        grid = tuple(x.shape[1:3])
        x = x.flatten(1, 2)
        if self.cls_token is not None:
            x = insert_middle(x, self.cls_token)
            grid = (1, x.shape[1])  # one row: the tokens are a sequence now
        outputs = []
        for index, block in enumerate(self.blocks[: self.out_indices[-1] + 1]):
            x = block(x, grid)
            if index in self.out_indices:
                outputs.append(self._output(x, grid, final=index == len(self.blocks) - 1))
        return tuple(outputs)

    @property
    def channels(self) -> list[int]:
        """Channels of each output, like timm's ``feature_info.channels()``."""
        return [self.embed_dims * POOLINGS.get(self.out_type, 1)] * len(self.out_indices)

    @property
    def strides(self) -> list[int]:
        """Stride of each map in pixels of the image, like timm's ``feature_info.reduction()``."""
        return [self.patch_embed.proj.stride[0]] * len(self.out_indices)

    def _output(self, x: Tensor, grid: tuple[int, int], final: bool) -> Tensor:
        if final:
            x = self.norm(x)
        if self.out_type == 'raw':
            return x
        if self.out_type == 'featmap':
            return _two_patches(rearrange(x, 'b (h w) d -> b d h w', h=grid[0]).contiguous())
        pooled = pool(x, self.out_type)
        return self.pool_norm(pooled) if final else pooled

    def init_weights(self) -> None:
        """Initialise by ``init_cfg``; a pretrained file must hold every weight of the backbone.

        With such a file nothing else is initialised: it would be overwritten, and mmengine would
        log a list of all parameters before an error about the file.
        """
        pretrained, _ = split_pretrained(self.init_cfg)
        if not pretrained:
            super().init_weights()
        for cfg in pretrained:
            load_backbone(self, **cfg)
        self.is_init = True

    def train(self, mode: bool = True) -> VisionLSTM:
        """Frozen stages stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _freeze(self) -> None:
        for module in self._frozen_modules():
            module.eval().requires_grad_(False)
        if self.frozen_stages >= 0 and self.cls_token is not None:
            self.cls_token.requires_grad_(False)

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        frozen = [self.patch_embed, self.pos_embed, *self.blocks[: self.frozen_stages]]
        if self.frozen_stages == len(self.blocks):
            frozen += [self.norm, self.pool_norm]
        return frozen

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning rate decay, and the number of depths.

        The embeddings are at depth 0, block i at i + 1, the norms after the blocks at the last.

        Args:
            param_name: Full name, e.g. 'backbone.blocks.3.layers.0.skip'.
            prefix: Prefix of this backbone's parameter names, e.g. 'backbone.'.
        """
        num_depths = len(self.blocks) + 2
        name = param_name.removeprefix(prefix)
        if not param_name.startswith(prefix):
            return num_depths - 1, num_depths
        if name.startswith(('patch_embed.', 'pos_embed.', 'cls_token')):
            return 0, num_depths
        if name.startswith('blocks.'):
            return int(name.split('.')[1]) + 1, num_depths
        return num_depths - 1, num_depths


def _two_patches(x: Tensor) -> Tensor:
    """Repeat the single row or column of a map ``(B, D, Hg, Wg)``, so that pyramids can halve it.

    This reads no padding, and the result stays aligned when resized to the image.
    """
    rows, columns = (2 if side == 1 else 1 for side in x.shape[2:])
    return x.repeat(1, 1, rows, columns) if rows * columns > 1 else x


def _check_sequence(version: int, traversal: str) -> None:
    if version != 1 or not TRAVERSALS[traversal].by_rows_only:
        raise OptionError(
            "VisionLSTM: out_type='middle_cls' makes the tokens a sequence, not a grid; it "
            f'needs version=1 and scans by rows, got version={version}, traversal={traversal!r}'
        )
