"""Image to grid of patch embeddings."""

from __future__ import annotations

import math

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class PatchEmbedding(nn.Module):
    """Convolution that turns each patch into a vector.

    Images whose height or width the patch size does not divide are padded with zeros at the bottom
    and the right (the 'corner' padding of mmsegmentation's ViT), so that no pixel is lost.

    Args:
        in_channels: Channels C of the image.
        dim: Channels D of a token.
        patch_size: Side of a patch in pixels.
        stride: Pixels from one patch to the next; patches overlap where it is below ``patch_size``.
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int, stride: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, dim, kernel_size=patch_size, stride=stride)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier uniform on the (D, C * patch * patch) matrix."""
        bound = math.sqrt(6 / sum(self.proj.weight.flatten(1).shape))
        nn.init.uniform_(self.proj.weight, -bound, bound)
        nn.init.zeros_(self.proj.bias)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, Hg, Wg, D)`` with Hg = (H - patch) // stride + 1."""
        height, width = images.shape[-2:]
        bottom, right = -height % self.patch_size, -width % self.patch_size
        if bottom or right:
            images = F.pad(images, (0, right, 0, bottom))
        # contiguous here, or every norm and sum of the residual stream would be strided
        return rearrange(self.proj(images), 'b d h w -> b h w d').contiguous()
