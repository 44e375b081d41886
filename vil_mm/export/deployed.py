"""Wrap a model as a function of a batch of images of fixed size, for export."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vil_mm.errors import ArgumentError
from vil_mm.layers.scan import NUM_HEADS
from vil_mm.mlstm.cost import Choice, choose_backend
from vil_mm.models import VisionLSTM
from vil_mm.models.inspection import count_channels, find_kind

PARTS = ('backbone', 'whole')


class DeployedBackbone(nn.Module):
    """Normalised images ``(B, C, H, W)`` to the backbone's outputs."""

    takes = 'normalised images'

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.backbone(images)
        return tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)

    def output_names(self) -> list[str]:
        """A name per output: 'features_BLOCK' for a ViL, counted from 1."""
        backbone = self.backbone
        indices = getattr(backbone, 'out_indices', None)
        if isinstance(indices, list | tuple):
            return [f'features_{index + 1}' for index in indices]
        return ['features']

    def example(self, batch_size: int, shape: tuple[int, int]) -> Tensor:
        """Noise like normalised images."""
        return torch.randn(batch_size, count_channels(self.backbone), *shape)


class _Whole(nn.Module):
    """Takes RGB images from 0 to 255, float32, and normalises them."""

    takes = 'RGB images, 0 to 255; normalisation is included'

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        preprocessor = model.data_preprocessor
        mean = getattr(preprocessor, 'mean', torch.zeros(1, 1, 1))
        std = getattr(preprocessor, 'std', torch.ones(1, 1, 1))
        self.register_buffer('mean', mean.detach().clone().view(1, -1, 1, 1))
        self.register_buffer('std', std.detach().clone().view(1, -1, 1, 1))
        self.model = model

    def example(self, batch_size: int, shape: tuple[int, int]) -> Tensor:
        """Noise from 0 to 255."""
        return 255 * torch.rand(batch_size, count_channels(self.model.backbone), *shape)

    def normalised(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class DeployedSegmentor(_Whole):
    """RGB images ``(B, 3, H, W)`` to logits ``(B, K, H, W)``.

    Logits instead of labels, so that predictions of windows can be averaged.
    """

    def forward(self, images: Tensor) -> tuple[Tensor]:
        meta = [{'img_shape': torch.Size(images.shape[2:])}]
        return (self.model.encode_decode(self.normalised(images), meta),)

    def output_names(self) -> list[str]:
        return ['logits']


class DeployedClassifier(_Whole):
    """RGB images ``(B, 3, H, W)`` to probabilities ``(B, K)``."""

    def forward(self, images: Tensor) -> tuple[Tensor]:
        model = self.model
        logits = model.head(model.extract_feat(self.normalised(images)))
        return (logits.softmax(dim=1),)

    def output_names(self) -> list[str]:
        return ['scores']


def wrap_model(model: nn.Module, part: str, shape: tuple[int, int]) -> nn.Module:
    """Wrap a model, or its backbone, for export.

    Args:
        model: A whole segmentor or classifier, on a CPU, in evaluation mode.
        part: 'backbone' or 'whole'.
        shape: (H, W) of the images.

    Raises:
        ValueError: It cannot be exported; the message says why.
    """
    if part not in PARTS:
        raise ValueError(f'part {part!r} is unknown; choose one of {PARTS}')
    if model.training:
        raise ValueError('the model is in training mode: call model.eval() first')
    _check_backbone(model.backbone, shape)
    if part == 'backbone':
        return DeployedBackbone(model.backbone).eval()
    kind = find_kind(model)
    if kind == 'segmentor':
        _check_windows(model.test_cfg or {}, shape)
        return DeployedSegmentor(model).eval()
    if kind == 'classifier':
        return DeployedClassifier(model).eval()
    raise ValueError(
        f'a {kind} cannot be exported whole, since its number of boxes depends on the image; '
        "use part='backbone'"
    )


def find_backend(backbone: nn.Module, shape: tuple[int, int]) -> Choice | None:
    """The backend of the mLSTM in the file, which depends on the number of tokens."""
    if not isinstance(backbone, VisionLSTM):
        return None
    patch = backbone.patch_embed
    tokens = 1
    for side, stride in zip(shape, patch.proj.stride, strict=True):
        tokens *= (side - patch.patch_size) // stride + 1
    scan = backbone.blocks[0].layers[0].scans[0]
    auto = choose_backend(tokens, NUM_HEADS, scan.skip.numel() // NUM_HEADS)
    return auto if scan.plain_backend in ('auto', auto.backend) else Choice(scan.plain_backend)


def _check_backbone(backbone: nn.Module, shape: tuple[int, int]) -> None:
    if not isinstance(backbone, VisionLSTM):
        return
    backend = backbone.blocks[0].layers[0].scans[0].mlstm_backend
    reasons = {
        'triton': 'it runs Triton kernels compiled for one kind of GPU',
        'recurrent': 'it runs token by token, so the file would repeat each layer per token',
    }
    if backend in reasons:
        raise ValueError(
            f'mlstm_backend={backend!r} cannot be exported: {reasons[backend]}; set '
            'model.backbone.mlstm_backend=auto'
        )
    patch = backbone.patch_embed.patch_size
    if any(side % patch for side in shape):
        raise ArgumentError(
            f'the sides must be multiples of the patch size {patch}; pad your images',
            shape=tuple(shape),
        )


def _check_windows(test_cfg: dict, shape: tuple[int, int]) -> None:
    """Fail unless the exported shape is that of one window: the loop over windows is left out."""
    mode, crop = test_cfg.get('mode', 'whole'), test_cfg.get('crop_size')
    if mode == 'whole':
        return
    if crop is None:
        raise ValueError(
            f'model.test_cfg.mode={mode!r} has no crop_size; set model.test_cfg.mode=whole'
        )
    if tuple(shape) != tuple(crop):
        raise ArgumentError(
            f'model.test_cfg.mode={mode!r} loops over windows of {crop}, and the loop cannot be '
            f'exported; use the shape of one window, {crop[0]} {crop[1]}, or set '
            'model.test_cfg.mode=whole',
            shape=tuple(shape),
        )
