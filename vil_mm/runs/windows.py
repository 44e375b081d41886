"""Prediction modes of a test: windows with bounded memory, test-time augmentation."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict

from vil_mm.errors import ArgumentError


def use_tiles(cfg: Config) -> None:
    """Predict in windows, keeping logits for a band of rows only; changes the config in place.

    Raises:
        ValueError: The model is not an ``EncoderDecoder``, or has no windows.
    """
    model, test_cfg = cfg.model, cfg.model.get('test_cfg') or {}
    if model.type.removeprefix('mmseg.') not in ('EncoderDecoder', 'TiledEncoderDecoder'):
        raise ArgumentError(f'supports the segmentor EncoderDecoder, not {model.type}', tiled=True)
    if 'crop_size' not in test_cfg or 'stride' not in test_cfg:
        height, width = crop = find_training_size(cfg)
        y, x = (max(1, round(2 * side / 3)) for side in crop)
        raise ArgumentError(
            f'model.test_cfg ({dict(test_cfg)}) has no crop_size and stride; for windows of the '
            f'training size, set model.test_cfg.crop_size={height},{width} '
            f'model.test_cfg.stride={y},{x}',
            tiled=True,
        )
    model.type, test_cfg.mode = 'TiledEncoderDecoder', 'tiled'


def find_training_size(cfg: Config) -> tuple[int, int]:
    """Height and width of a segmentor's training images, as far as its config tells."""
    dataset = (cfg.get('train_dataloader') or {}).get('dataset', {})
    crops = [x.crop_size for x in dataset.get('pipeline', []) if x.get('type') == 'RandomCrop']
    padded = (cfg.model.get('data_preprocessor') or {}).get('size')
    size = next((x for x in (*crops, padded, cfg.model.backbone.get('img_size')) if x), 512)
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def use_tta(cfg: Config) -> None:
    """Test with the config's ``tta_pipeline`` and ``tta_model``; changes the config in place.

    Raises:
        ValueError: The config has no ``tta_pipeline``, or the model predicts in tiles.
    """
    if 'tta_pipeline' not in cfg:
        raise ArgumentError('the config has no tta_pipeline', tta=True)
    if (cfg.model.get('test_cfg') or {}).get('mode') == 'tiled':
        raise ArgumentError(
            "adds up the logits of several passes, which model.test_cfg.mode='tiled' does not "
            "keep; use mode='slide'",
            tta=True,
        )
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.get('tta_model', {'type': 'SegTTAModel'}), module=cfg.model)
