"""Layer-wise learning rate decay for the backbone of any OpenMMLab model."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from vil_mm.layers import HeadNorm, OffsetLayerNorm

PREFIX = 'backbone.'  # of a backbone's parameters in every OpenMMLab model
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, OffsetLayerNorm, HeadNorm)
MULTIPLIERS = ('norm_decay_mult', 'bias_decay_mult', 'dwconv_decay_mult', 'flat_decay_mult')
OPTIONS = ('layer_decay_rate', 'custom_keys', *MULTIPLIERS)
KEY_OPTIONS = ('lr_mult', 'decay_mult')
# inserted into parameter names by wrappers (DDP, torch.compile, FSDP, checkpointing)
_WRAPPING = re.compile(r'\b(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')


class LayerDecayError(ValueError):
    """A decay rule is wrong or matches nothing. The first line of the message is complete."""


@dataclass(frozen=True)
class GroupSetting:
    """The settings shared by the parameters of a group.

    Attributes:
        level: Depth in the backbone, 0 for the embeddings; the last has the full learning rate.
        lr_mult: Multiplier of the learning rate.
        weight_decay: Weight decay in the optimizer.
    """

    level: int
    lr_mult: float
    weight_decay: float


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Multiplies the learning rate at depth i of L by ``layer_decay_rate ** (L - 1 - i)``.

    The backbone's ``get_layer_depth(name, prefix)`` gives the depth; parameters outside the
    backbone have the full rate. This works for models with a ``backbone`` (mmsegmentation's
    ``EncoderDecoder``, mmpretrain's ``ImageClassifier``, mmdetection's detectors) and for a
    backbone alone. ``VisionLSTM`` has the method, and so do mmpretrain's ``VisionTransformer``,
    ``SwinTransformer``, ``ConvNeXt``, ``BEiT`` and others; backbones of mmsegmentation and
    mmdetection do not and are rejected.

    Parameters with equal level, multiplier and weight decay form one optimizer group; the groups
    are logged as a table. Frozen parameters are in none.

    Options of ``paramwise_cfg``:

    - ``layer_decay_rate``: see above, in (0, 1].
    - ``custom_keys``: maps a part of parameter names to ``dict(lr_mult=..., decay_mult=...)``. The
      longest matching key applies; it overrides the options below and multiplies the layer's rate.
    - ``norm_decay_mult``, ``bias_decay_mult``, ``dwconv_decay_mult``, ``flat_decay_mult``:
      multiplier of the weight decay of norms, biases, depthwise convolutions, and parameters with
      one dimension; the first that applies is used, as in mmengine.

    Raises:
        LayerDecayError: An option is unknown or out of range; when called, the backbone has no
            ``get_layer_depth``, no parameter has a decayed rate, or an option or key matches no
            parameter.
    """

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        """Append the groups of a model's parameters to ``params`` and log them."""
        self.matched: set[str] = set()
        depths, num_levels = read_depths(module)
        groups: dict[GroupSetting, list[nn.Parameter]] = defaultdict(list)
        for name, parameter, owner in _parameters(module):
            level = depths.get(parameter, num_levels - 1)
            setting = self._setting(name, parameter, owner, level, num_levels)
            if parameter.requires_grad:
                groups[setting].append(parameter)
        ordered = sorted(groups, key=lambda s: (s.level, s.lr_mult, -s.weight_decay))
        self._check_matches(ordered, num_levels)
        for setting in ordered:
            params.append(
                {
                    'params': groups[setting],
                    'lr': self.base_lr * setting.lr_mult,
                    'weight_decay': setting.weight_decay,
                    'lr_mult': setting.lr_mult,
                    'level': setting.level,
                }
            )
        print_log(f'Parameter groups:\n{format_groups(params)}', logger='current')

    def _setting(
        self, name: str, parameter: nn.Parameter, owner: nn.Module, level: int, num_levels: int
    ) -> GroupSetting:
        keys = self.paramwise_cfg.get('custom_keys', {})
        found = sorted((key for key in keys if key in name), key=lambda key: (-len(key), key))
        rules = [rule for rule in _rules(name, parameter, owner) if rule in self.paramwise_cfg]
        self.matched.update(found, rules)
        lr_mult = self.paramwise_cfg['layer_decay_rate'] ** (num_levels - 1 - level)
        decay_mult = self.paramwise_cfg[rules[0]] if rules else 1.0
        if found:
            lr_mult *= keys[found[0]].get('lr_mult', 1.0)
            decay_mult = keys[found[0]].get('decay_mult', 1.0)
        return GroupSetting(level, lr_mult, self.base_wd * decay_mult)

    def _validate_cfg(self) -> None:
        _check_names('paramwise_cfg', self.paramwise_cfg, OPTIONS)
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise LayerDecayError(
                f'paramwise_cfg.layer_decay_rate must be a number in (0, 1], got {rate!r}; to '
                'train without such a decay leave constructor out of optim_wrapper'
            )
        for key, options in self.paramwise_cfg.get('custom_keys', {}).items():
            _check_names(f'paramwise_cfg.custom_keys[{key!r}]', options, KEY_OPTIONS)
        missing = [key for key in ('lr', 'weight_decay') if self.optimizer_cfg.get(key) is None]
        if missing:
            raise LayerDecayError(
                f'optim_wrapper.optimizer does not set {" and ".join(missing)}, which groups '
                'scale; for no weight decay set weight_decay=0'
            )

    def _check_matches(self, settings: list[GroupSetting], num_levels: int) -> None:
        if not any(setting.level < num_levels - 1 for setting in settings):
            raise LayerDecayError(
                "layer_decay_rate: no trainable parameter is below the backbone's last level, so "
                'none would have a lower learning rate. Is the backbone frozen, or does its '
                'get_layer_depth not know its own names?'
            )
        options = [option for option in MULTIPLIERS if option in self.paramwise_cfg]
        keys = [*self.paramwise_cfg.get('custom_keys', {}), *options]
        unused = [key for key in keys if key not in self.matched]
        if unused:
            raise LayerDecayError(
                f'paramwise_cfg: no parameter of the model matches {", ".join(unused)}; fix '
                'the name or remove it'
            )


def read_depths(model: nn.Module) -> tuple[dict[nn.Parameter, int], int]:
    """Ask a model's backbone for the depths of its parameters.

    Returns:
        The depth of each parameter, 0 for the embeddings, and the number of depths; the last depth
        is that of heads.

    Raises:
        LayerDecayError: The backbone has no ``get_layer_depth``.
    """
    backbone = find_backbone(model)
    depths, numbers = {}, set()
    for name, parameter in backbone.named_parameters():
        depth, number = backbone.get_layer_depth(PREFIX + _WRAPPING.sub('', name), PREFIX)
        depths[parameter] = depth
        numbers.add(number)
    if len(numbers) != 1:
        raise LayerDecayError(
            f'{type(backbone).__name__}.get_layer_depth returns different numbers of levels: '
            f'{sorted(numbers)}'
        )
    return depths, numbers.pop()


def find_backbone(model: nn.Module) -> nn.Module:
    """The module that knows depths: a model's ``backbone``, or a backbone trained alone.

    Wrappers with a ``module`` (DDP) are unwrapped.

    Raises:
        LayerDecayError: The module has no ``get_layer_depth``.
    """
    model = _unwrap(model)
    backbone = _unwrap(getattr(model, 'backbone', model))
    if callable(getattr(backbone, 'get_layer_depth', None)):
        return backbone
    raise LayerDecayError(
        f'{type(backbone).__name__} has no get_layer_depth, which layer-wise learning rate decay '
        'needs: use VisionLSTM or a backbone of mmpretrain that has '
        "it (type='mmpretrain.VisionTransformer', 'mmpretrain.SwinTransformer', ...), or remove "
        'constructor and layer_decay_rate from optim_wrapper'
    )


def format_groups(groups: list[dict]) -> str:
    """Format a table of optimizer groups: level, multiplier, weight decay, tensors, parameters."""
    lines = [f'{"level":>5} {"lr x":>9} {"weight decay":>12} {"tensors":>8} {"parameters":>12}']
    for group in groups:
        count = sum(parameter.numel() for parameter in group['params'])
        lines.append(
            f'{group["level"]:>5} {group["lr_mult"]:>9.3g} {group["weight_decay"]:>12.3g} '
            f'{len(group["params"]):>8} {count:>12,}'
        )
    return '\n'.join(lines)


def _unwrap(module: nn.Module) -> nn.Module:
    inner = getattr(module, 'module', None)
    return _unwrap(inner) if isinstance(inner, nn.Module) else module


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """Name, parameter and owning module; a shared parameter comes once."""
    seen = set()
    for prefix, owner in model.named_modules():
        for name, parameter in owner.named_parameters(prefix, recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                yield _WRAPPING.sub('', name), parameter, owner


def _rules(name: str, parameter: nn.Parameter, owner: nn.Module) -> Iterator[str]:
    """Weight decay options that apply to a parameter, in order of precedence."""
    if isinstance(owner, NORMS):
        yield 'norm_decay_mult'
    if name.endswith('.bias'):
        yield 'bias_decay_mult'
    if isinstance(owner, nn.Conv2d) and owner.in_channels == owner.groups:
        yield 'dwconv_decay_mult'
    if parameter.ndim == 1:
        yield 'flat_decay_mult'


def _check_names(where: str, given: Mapping, known: tuple[str, ...]) -> None:
    if not isinstance(given, Mapping):
        raise LayerDecayError(f'{where} must be a dict, got {given!r}')
    unknown = [key for key in given if key not in known]
    if unknown:
        raise LayerDecayError(
            f'{where} does not know {", ".join(map(str, unknown))}; it has {", ".join(known)}'
        )
