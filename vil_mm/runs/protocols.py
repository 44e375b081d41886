"""Evaluation protocols: ways to test a segmentor that a config names, and the choice of one."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict

from vil_mm.errors import ArgumentError

DEFAULT_PROTOCOL = 'official'


def use_protocol(cfg: Config, name: str | None = None, *, tta: bool = False) -> None:
    """Test by one of the config's ``protocols``, in place; nothing where it has none.

    A protocol is ``dict(test_pipeline=..., tta_pipeline=..., tta_model=...)``. Windows are the
    model's own (``model.test_cfg``); images below their size are padded at the bottom and the right
    by zeros, after normalisation, and the padding is taken off the logits again. Metrics are called
    ``<protocol>/mIoU`` or ``<protocol>_tta/mIoU``.

    Args:
        cfg: What :func:`vil_mm.runs.reading.read_config` returned.
        name: One of the config's protocols; None for :data:`DEFAULT_PROTOCOL`.
        tta: Whether test-time augmentation is asked for. It is switched on elsewhere, from the
            ``tta_pipeline`` and ``tta_model`` that are set here.

    Raises:
        ValueError: The config has no protocols, or none of this name, or tests by another pipeline.
    """
    protocols = cfg.get('protocols')
    if not protocols:
        if name:
            raise ArgumentError(
                'the config has no protocols, it is tested by its own test_dataloader; leave it '
                'out',
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
    """What a config or an override sets beside the protocols would be lost without a word."""
    for key in ('tta_pipeline', 'tta_model'):
        if cfg.get(key):
            raise ValueError(
                f'the config has protocols and {key} beside them, which would not be used: set '
                f'protocols.<name>.{key} instead, or protocols=None'
            )
    known = _test_pipelines(cfg)
    if cfg.filename:  # before overrides of a protocol, which test_dataloader does not follow
        known += _test_pipelines(Config.fromfile(cfg.filename))
    if cfg.test_dataloader.dataset.pipeline not in known:
        raise ValueError(
            'test_dataloader.dataset.pipeline is not that of a protocol: change '
            'protocols.<name>.test_pipeline instead, or set protocols=None'
        )


def _test_pipelines(cfg: Config) -> list:
    return [protocol.test_pipeline for protocol in (cfg.get('protocols') or {}).values()]


def _pad_to_window(cfg: Config) -> None:
    """Windows of small images are padded, unless the config says how it pads itself."""
    windows = cfg.model.get('test_cfg') or {}
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if preprocessor and windows.get('mode') in ('slide', 'tiled'):
        preprocessor.setdefault('test_cfg', ConfigDict(size=windows.crop_size))


def _label(evaluator: ConfigDict | list[ConfigDict], prefix: str) -> None:
    for metric in [evaluator] if isinstance(evaluator, dict) else evaluator:
        metric.prefix = prefix
