"""Evaluation protocols: ways to test a segmentor, named in its config."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict

from vil_mm.errors import ArgumentError
from vil_mm.runs.nested import as_list

DEFAULT_PROTOCOL = 'official'


def use_protocol(cfg: Config, name: str | None = None, *, tta: bool = False) -> None:
    """Set up one of the config's ``protocols`` for testing, in place.

    Configs without protocols stay unchanged. A protocol is
    ``dict(test_pipeline=..., tta_pipeline=..., tta_model=...)``. Windows are those of
    ``model.test_cfg``; smaller images are padded with zeros at the bottom and right, after
    normalisation, and the padding is cropped from the logits. Metrics are called
    ``<protocol>/mIoU`` or ``<protocol>_tta/mIoU``.

    Args:
        cfg: The result of :func:`vil_mm.runs.reading.read_config`.
        name: One of the config's protocols; None for :data:`DEFAULT_PROTOCOL`.
        tta: Whether ``use_tta`` will switch on test-time augmentation, with the ``tta_pipeline``
            and ``tta_model`` set here.

    Raises:
        ValueError: The config lacks the protocol, or has its own test pipeline besides protocols.
    """
    protocols = cfg.get('protocols')
    if not protocols:
        if name:
            raise ArgumentError(
                'the config has no protocols, only its test_dataloader; leave the protocol out',
                protocol=name,
            )
        return
    protocol = protocols.get(name or DEFAULT_PROTOCOL)
    if not protocol:
        raise ArgumentError(
            f'the config has only {", ".join(protocols)}', protocol=name or DEFAULT_PROTOCOL
        )
    _refuse_own_settings(cfg)
    cfg.test_dataloader.dataset.pipeline = protocol.test_pipeline
    cfg.tta_pipeline, cfg.tta_model = protocol.tta_pipeline, protocol.tta_model
    _pad_to_window(cfg)
    _label(cfg.test_evaluator, (name or DEFAULT_PROTOCOL) + ('_tta' if tta else ''))


def _refuse_own_settings(cfg: Config) -> None:
    """Reject settings besides the protocols, which would be ignored without a word."""
    for key in ('tta_pipeline', 'tta_model'):
        if cfg.get(key):
            raise ValueError(
                f'the config has both protocols and {key}, which would be ignored: set '
                f'protocols.<name>.{key} instead, or protocols=None'
            )
    known = _test_pipelines(cfg)
    if cfg.filename:  # test_dataloader does not follow overrides of a protocol
        known += _test_pipelines(Config.fromfile(cfg.filename))
    if cfg.test_dataloader.dataset.pipeline not in known:
        raise ValueError(
            'test_dataloader.dataset.pipeline is not that of a protocol: change '
            'protocols.<name>.test_pipeline instead, or set protocols=None'
        )


def _test_pipelines(cfg: Config) -> list:
    return [protocol.test_pipeline for protocol in (cfg.get('protocols') or {}).values()]


def _pad_to_window(cfg: Config) -> None:
    """Pad small images to the window, unless the config has its own padding."""
    windows = cfg.model.get('test_cfg') or {}
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if preprocessor and windows.get('mode') in ('slide', 'tiled'):
        preprocessor.setdefault('test_cfg', ConfigDict(size=windows.crop_size))


def _label(evaluator: ConfigDict | list[ConfigDict], prefix: str) -> None:
    for metric in as_list(evaluator):
        metric.prefix = prefix
