"""3-Augment: the image augmentation of DeiT III, which the ViL recipes use."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageFilter, ImageOps

SOLARIZE_THRESHOLD = 128  # Pillow's default; values from here up are inverted
BLUR_RADII = (0.1, 2.0)  # of Pillow's Gaussian blur, in pixels


@TRANSFORMS.register_module()
class ThreeAugment(BaseTransform):
    """Turn the image grey, solarize it or blur it: one of the three, with equal probability.

    "3-Augment" of DeiT III: Revenge of the ViT, Touvron et al., ECCV 2022, section 3. Uses Pillow,
    as the authors did; mmcv rounds grey differently.

    Required and changed key: ``img``, uint8 ``(H, W, 3)``, BGR.
    """

    def transform(self, results: dict) -> dict:
        image = _to_pillow(results['img'])
        operation, radius = self.draw()
        if operation == 'grayscale':
            image = ImageOps.grayscale(image).convert('RGB')
        elif operation == 'solarize':
            image = ImageOps.solarize(image, SOLARIZE_THRESHOLD)
        else:
            image = image.filter(ImageFilter.GaussianBlur(radius))
        results['img'] = np.ascontiguousarray(np.asarray(image)[..., ::-1])
        return results

    @cache_randomness
    def draw(self) -> tuple[str, float]:
        """Draw the operation and the radius of ``'blur'``."""
        operation = np.random.choice(('grayscale', 'solarize', 'blur'))
        return str(operation), np.random.uniform(*BLUR_RADII)

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _to_pillow(image: np.ndarray) -> Image.Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            'ThreeAugment takes images of dtype uint8 and shape (H, W, 3), got '
            f'{image.dtype} and {image.shape}; place it before any normalisation or packing'
        )
    return Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
