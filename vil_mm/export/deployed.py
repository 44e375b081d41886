"""What is exported: a model as one function of a batch of images, of one size."""

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

    takes = 'images, normalised as for the backbone'

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.backbone(images)
        return tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)

    def output_names(self) -> list[str]:
        """One name an output: 'features_BLOCK', from 1, of a ViL."""
        backbone = self.backbone
        indices = getattr(backbone, 'out_indices', None)
        if isinstance(indices, list | tuple):
            return [f'features_{index + 1}' for index in indices]
        return ['features']

    def example(self, batch_size: int, shape: tuple[int, int]) -> Tensor:
        """Noise as normalised images are."""
        return torch.randn(batch_size, count_channels(self.backbone), *shape)


class _Whole(nn.Module):
    """Images as they are, RGB from 0 to 255, float32: the normalisation is part of the model."""

    takes = 'RGB images, 0 to 255; their normalisation is inside'

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

    Logits, not labels: whoever predicts in windows averages them, and they can be compared.
    """

    def forward(self, images: Tensor) -> tuple[Tensor]:
        meta = [{'img_shape': torch.Size(images.shape[2:])}]
        return (self.model.encode_decode(self.normalised(images), meta),)

    def output_names(self) -> list[str]:
        return ['logits']


class DeployedClassifier(_Whole):
    """RGB images ``(B, 3, H, W)`` to scores ``(B, K)`` that add up to 1."""

    def forward(self, images: Tensor) -> tuple[Tensor]:
        model = self.model
        logits = model.head(model.extract_feat(self.normalised(images)))
        return (logits.softmax(dim=1),)

    def output_names(self) -> list[str]:
        return ['scores']


def deployed(model: nn.Module, part: str, shape: tuple[int, int]) -> nn.Module:
    """The function of images that a file is to hold.

    Args:
        model: A whole segmentor or classifier, on a CPU, in evaluation mode.
        part: 'backbone' or 'whole'.
        shape: (H, W) of the images.

    Raises:
        ValueError: It cannot be exported; the reason is told.
    """
    if part not in PARTS:
        raise ValueError(f'part {part!r} is not known; choose one of {PARTS}')
    if model.training:
        raise ValueError('the model is in training mode, in which drop path is random: eval() it')
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
        f'a {kind} is not exported whole: how many boxes it gives depends on the image; '
        "take part='backbone'"
    )


def find_form(backbone: nn.Module, shape: tuple[int, int]) -> Choice | None:
    """The form of the mLSTM that the file will hold, which the number of tokens decides."""
    if not isinstance(backbone, VisionLSTM):
        return None
    patch = backbone.patch_embed
    tokens = 1
    for side, stride in zip(shape, patch.proj.stride, strict=True):
        tokens *= (side - patch.patch_size) // stride + 1
    scan = backbone.blocks[0].layers[0].scans[0]
    auto = choose_backend(tokens, NUM_HEADS, scan.skip.numel() // NUM_HEADS)
    return auto if scan.mlstm_backend in ('auto', auto.backend) else Choice(scan.mlstm_backend)


def _check_backbone(backbone: nn.Module, shape: tuple[int, int]) -> None:
    if not isinstance(backbone, VisionLSTM):
        return
    form = backbone.blocks[0].layers[0].scans[0].mlstm_backend
    reasons = {
        'triton': 'runs fused Triton kernels, which are made for one kind of GPU',
        'recurrent': 'goes token by token: the file would hold each layer once a token',
    }
    if form in reasons:
        raise ValueError(
            f'mlstm_backend={form!r} cannot be exported, it {reasons[form]}; add --cfg-options '
            'model.backbone.mlstm_backend=auto'
        )
    patch = backbone.patch_embed.patch_size
    if any(side % patch for side in shape):
        raise ArgumentError(
            f'the sides must be multiples of the patch size {patch}; pad images before',
            shape=tuple(shape),
        )


def _check_windows(test_cfg: dict, shape: tuple[int, int]) -> None:
    """Only what the model does to one window is exported, and that has to be all it does."""
    mode = test_cfg.get('mode', 'whole')
    if mode == 'whole':
        return
    crop = test_cfg.get('crop_size')
    if crop is None or tuple(shape) != tuple(crop):
        raise ValueError(
            f'model.test_cfg.mode={mode!r} predicts in windows of {crop}, which are a loop around '
            f'the model and not part of it; export one window, --shape {crop[0]} {crop[1]}, or the '
            'model without windows, --cfg-options model.test_cfg.mode=whole'
            if crop
            else f'model.test_cfg.mode={mode!r} has no crop_size; set model.test_cfg.mode=whole'
        )
