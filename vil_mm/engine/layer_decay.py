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

PREFIX = 'backbone.'  # what a backbone's parameters are called in every OpenMMLab model
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, OffsetLayerNorm, HeadNorm)
MULTIPLIERS = ('norm_decay_mult', 'bias_decay_mult', 'dwconv_decay_mult', 'flat_decay_mult')
OPTIONS = ('layer_decay_rate', 'custom_keys', *MULTIPLIERS)
KEY_OPTIONS = ('lr_mult', 'decay_mult')
# what wrappers of modules (DDP, torch.compile, FSDP, checkpointing) put into parameters' names
_WRAPPING = re.compile(r'\b(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')


class LayerDecayError(ValueError):
    """A rule of the decay is wrong or matches nothing. The first line says it all."""


@dataclass(frozen=True)
class GroupSetting:
    """What parameters of one group share.

    Attributes:
        level: Depth in the backbone, 0 for its embeddings; the last one has the full learning rate.
        lr_mult: Multiplier of the learning rate.
        weight_decay: Of the optimizer.
    """

    level: int
    lr_mult: float
    weight_decay: float


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Gives parameters at depth i of L the learning rate times ``layer_decay_rate ** (L - 1 - i)``.

    The depth is what the backbone's ``get_layer_depth(name, prefix)`` says; parameters outside of
    the backbone have the full rate. It works for models with a ``backbone`` (mmsegmentation's
    ``EncoderDecoder``, mmpretrain's ``ImageClassifier``, mmdetection's detectors) and for a
    backbone by itself. ``VisionLSTM`` has the method, of mmpretrain's backbones among others
    ``VisionTransformer``, ``SwinTransformer``, ``ConvNeXt`` and ``BEiT``; those of mmsegmentation
    and mmdetection have not and are refused.

    Parameters that share level, multiplier and weight decay form one group of the optimizer; the
    groups are logged as a table. Frozen parameters are in none.

    Options of ``paramwise_cfg``:

    - ``layer_decay_rate``: see above, in (0, 1].
    - ``custom_keys``: part of a parameter's name to ``dict(lr_mult=..., decay_mult=...)``. The
      longest key in a name counts, takes the place of the options below, and multiplies the rate
      of the layer.
    - ``norm_decay_mult``, ``bias_decay_mult``, ``dwconv_decay_mult``, ``flat_decay_mult``:
      multiplier of the weight decay of norms, of biases, of depthwise convolutions, of parameters
      with one dimension; the first that applies counts, as in mmengine.

    Raises:
        LayerDecayError: An option is unknown or out of its range; when called, the model's backbone
            has no ``get_layer_depth``, no parameter has a decayed rate, or an option or key matches
            no parameter.
    """

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        """Append the groups of a model's parameters to ``params`` and log them."""
        self.matched: set[str] = set()
        depth_of, num_levels = read_depths(module)
        groups: dict[GroupSetting, list[nn.Parameter]] = defaultdict(list)
        for name, parameter, owner in _parameters(module):
            level = depth_of.get(parameter, num_levels - 1)
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
                f'optim_wrapper.optimizer does not say its {" and ".join(missing)}, which those of '
                'groups are multiples of; for none say weight_decay=0'
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
                f'paramwise_cfg: no parameter of the model is meant by {", ".join(unused)}; fix '
                'the name or leave it out'
            )


def read_depths(model: nn.Module) -> tuple[dict[nn.Parameter, int], int]:
    """Ask a model's backbone how deep its parameters are.

    Returns:
        Depth of each of its parameters, 0 for the embeddings, and the number of depths, of which
        the last is that of heads.

    Raises:
        LayerDecayError: It has no ``get_layer_depth``.
    """
    backbone = find_backbone(model)
    depths, numbers = {}, set()
    for name, parameter in backbone.named_parameters():
        depth, number = backbone.get_layer_depth(PREFIX + _WRAPPING.sub('', name), PREFIX)
        depths[parameter] = depth
        numbers.add(number)
    if len(numbers) != 1:
        raise LayerDecayError(
            f'{type(backbone).__name__}.get_layer_depth tells {sorted(numbers)} as numbers of '
            'levels, where it has to tell one'
        )
    return depths, numbers.pop()


def find_backbone(model: nn.Module) -> nn.Module:
    """The module to ask for depths: a model's ``backbone``, or a backbone that is trained alone.

    Wrappers that hold a model or a backbone as ``module`` (DDP) are looked into.

    Raises:
        LayerDecayError: Neither has ``get_layer_depth``.
    """
    model = _unwrap(model)
    backbone = _unwrap(getattr(model, 'backbone', model))
    if callable(getattr(backbone, 'get_layer_depth', None)):
        return backbone
    raise LayerDecayError(
        f'{type(backbone).__name__} has no get_layer_depth, which layer-wise learning rate decay '
        'asks for the depth of a parameter: take VisionLSTM or a backbone of mmpretrain that has '
        "it (type='mmpretrain.VisionTransformer', 'mmpretrain.SwinTransformer', ...), or leave "
        'constructor and layer_decay_rate of optim_wrapper out'
    )


def format_groups(groups: list[dict]) -> str:
    """A table of the optimizer's groups: level, multiplier, weight decay, tensors, parameters."""
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
    """Name, parameter and the module it belongs to; a shared one comes once."""
    seen = set()
    for prefix, owner in model.named_modules():
        for name, parameter in owner.named_parameters(prefix, recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                yield _WRAPPING.sub('', name), parameter, owner


def _rules(name: str, parameter: nn.Parameter, owner: nn.Module) -> Iterator[str]:
    """Options of weight decay that apply to a parameter, the first to be looked for first."""
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
