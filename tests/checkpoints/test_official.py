"""Names: every layout of the authors to ours and back, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path

import published
import pytest
import torch
from safetensors.torch import load_file

from vil_mm.checkpoints import from_official, is_official, to_official
from vil_mm.models import VisionLSTM

State = dict[str, torch.Tensor]
LAYOUTS = [('raw', 1), ('raw', 2), ('inference', 1), ('inference', 2)]
QUAD = ('', '_rev', '_du', '_ud')
GOLDEN = [
    'a_v2_classifier',
    'a_v2_classifier_rawkeys',
    'c_v1_classifier',
    'c_v1_classifier_rawkeys',
]


def small(layout: str = 'raw', version: int = 2, layers: int = 4, **options) -> State:
    raw = published.raw_weights(version, 16, layers, patch=4, grid=(4, 5), classes=7, **options)
    return raw if layout == 'raw' else published.inference_weights(raw, version)


def model_keys(version: int, layers: int = 4, **options) -> set[str]:
    """Names of the weights of a classifier."""
    options = {'out_type': 'bilateral_avg', **options}
    arch = dict(embed_dims=16, num_layers=layers)
    backbone = VisionLSTM(arch, version, img_size=(16, 20), patch_size=4, **options)
    return {f'backbone.{key}' for key in backbone.state_dict()} | {'head.fc.weight', 'head.fc.bias'}


def golden_weights(folder: Path, name: str) -> State:
    stored = load_file(folder / f'{name}.safetensors')
    prefix = 'state_dict/' if name.endswith('rawkeys') else 'sd.'
    return {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}


def error_of(function, *args) -> str:
    with pytest.raises(ValueError) as error:
        function(*args)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize('outer', [False, True], ids=['bare', 'under state_dict'])
@pytest.mark.parametrize(('layout', 'version'), LAYOUTS)
def test_gives_exactly_the_keys_of_a_classifier(layout: str, version: int, outer: bool) -> None:
    official = small(layout, version)
    given = {'state_dict': official, 'ckpt': 'last'} if outer else official
    before = copy.copy(official)
    ours = from_official(given)
    assert set(ours) == model_keys(version)
    assert official == before and list(official) == list(before)
    assert all(ours[a] is official[b] for a, b in zip(ours, official, strict=True))


@pytest.mark.parametrize('version', [1, 2])
def test_both_layouts_give_the_same(version: int) -> None:
    ours, same = (from_official(small(layout, version)) for layout in ('raw', 'inference'))
    assert ours.keys() == same.keys()
    assert all(torch.equal(ours[key], same[key]) for key in ours)


@pytest.mark.parametrize('layers', [1, 2, 5, 29])
@pytest.mark.parametrize(('layout', 'version'), LAYOUTS[:3])
def test_odd_numbers_of_layers(layout: str, version: int, layers: int) -> None:
    official = small(layout, version, layers)
    ours = from_official(official)
    assert set(ours) == model_keys(version, layers)
    assert list(to_official(ours)) == list(official)


@pytest.mark.parametrize(
    ('scans', 'traversal'),
    [(('',), t) for t in ('alternating', 'unidirectional', 'alternating_quad')]
    + [(('',), t) for t in ('bidirectional_shared', 'quad_shared')]
    + [(('', '_rev'), 'bidirectional'), (QUAD, 'quad')],
    ids=lambda value: value if isinstance(value, str) else f'{len(value)} scans',
)
def test_block_designs(scans: tuple[str, ...], traversal: str) -> None:
    official = small('raw', 1, scans=scans)
    ours = from_official(official)
    assert set(ours) == model_keys(1, traversal=traversal)
    back = to_official(ours)
    assert list(back) == list(official) and all(back[key] is official[key] for key in back)


def test_scans_are_not_mixed_up() -> None:
    official = small('raw', 1, scans=QUAD)
    ours = from_official(official)
    for number, end in enumerate(QUAD):
        for theirs, mine in {
            f'conv1d{end}.conv.weight': 'conv.weight',
            f'v_proj{end}.weight': 'v_proj.weight',
            f'mlstm_cell{end}.fgate.bias': 'fgate.bias',
            f'mlstm_cell{end}.outnorm.weight': 'head_norm.weight',
            f'learnable_skip{end}': 'skip',
        }.items():
            key = f'backbone.blocks.1.layers.0.scans.{number}.{mine}'
            assert ours[key] is official[f'xlstm.blocks.2.xlstm.{theirs}']


def test_token_in_the_middle() -> None:
    official = small('raw', 1, class_token=True)
    ours = from_official(official)
    assert set(ours) == model_keys(1, out_type='middle_cls')
    assert ours['backbone.cls_token'] is official['cls_tokens.tokens']
    assert list(to_official(ours)) == list(official)


@pytest.mark.parametrize(('layout', 'version'), LAYOUTS)
@pytest.mark.parametrize('without', ['head', 'norm after pooling', 'both'])
def test_head_and_norm_after_pooling_may_be_absent(layout: str, version: int, without: str) -> None:
    official = small(layout, version)
    head = 'head.1.' if layout == 'raw' else 'head.'
    norm = {'raw': 'head.0.', 'inference': {1: 'norm.', 2: 'legacy_norm.'}.get(version)}[layout]
    gone = {'head': (head,), 'norm after pooling': (norm,), 'both': (head, norm)}[without]
    rest = {key: value for key, value in official.items() if not key.startswith(gone)}
    assert len(rest) == len(official) - 2 * len(gone)
    ours = from_official(rest)
    assert len(ours) == len(rest)
    assert list(to_official(ours)) == list(rest)
    for prefix in gone:
        half = {key: value for key, value in official.items() if key != f'{prefix}bias'}
        assert f'missing {prefix}bias' in error_of(from_official, half)


@pytest.mark.parametrize('place', ['xlstm.blocks.1.xlstm.mlstm_cell.', ''])
def test_old_causal_masks_are_dropped(place: str) -> None:
    official = small('raw', 1)
    old = official | {f'{place}causal_mask': torch.ones(3, 3)}
    assert from_official(old).keys() == from_official(official).keys()
    assert list(to_official(from_official(old))) == list(official)


# there and back


@pytest.mark.parametrize(('layout', 'version'), LAYOUTS)
def test_round_trip(layout: str, version: int) -> None:
    official = small(layout, version)
    back = to_official(from_official(official))
    assert list(back) == list(official)
    assert all(back[key] is official[key] for key in back)


@pytest.mark.parametrize('name', GOLDEN)
def test_round_trip_of_golden_files(golden, name: str) -> None:
    official = golden_weights(golden, name)
    back = to_official(from_official(official))
    assert list(back) == list(official)
    assert all(back[key] is official[key] for key in back)


@pytest.mark.parametrize('case', ['a_v2', 'c_v1'])
def test_golden_files_of_both_layouts_are_the_same(golden, case: str) -> None:
    ours, same = (
        from_official(golden_weights(golden, f'{case}_classifier{end}')) for end in ('', '_rawkeys')
    )
    assert ours.keys() == same.keys()
    assert all(torch.equal(ours[key], same[key]) for key in ours)


@pytest.mark.parametrize('version', [1, 2])
def test_layout_on_the_way_back(version: int) -> None:
    raw, inference = small('raw', version), small('inference', version)
    ours = from_official(inference)
    assert set(to_official(ours)) == set(inference)
    assert set(to_official(ours, 'raw')) == set(raw)
    assert set(to_official(from_official(raw), 'inference')) == set(inference)
    assert set(to_official(dict(ours))) == set(raw), 'nothing is noted in a copy'


def test_noted_layout_survives_a_file_and_harms_no_loader(tmp_path) -> None:
    inference = small('inference', 1)
    torch.save(from_official(inference), tmp_path / 'x.pth')
    loaded = torch.load(tmp_path / 'x.pth', weights_only=True)
    assert set(to_official(loaded)) == set(inference)
    backbone = VisionLSTM(dict(embed_dims=16, num_layers=4), 1, (16, 20), 4)
    model = torch.nn.Module()
    model.backbone = backbone
    left = model.load_state_dict(loaded, strict=False)
    assert not left.missing_keys
    assert torch.equal(backbone.norm.weight, inference['legacy_norm.weight'])


@pytest.mark.parametrize('noted', [None, {'': 3}, {'': {'official_layout': 'other'}}])
def test_other_metadata_is_nothing_noted(noted: object) -> None:
    ours = from_official(small('inference', 1))
    ours._metadata = noted
    assert set(to_official(ours)) == set(small('raw', 1))


@pytest.mark.parametrize('version', [1, 2])
def test_backbone_alone_on_the_way_back(version: int) -> None:
    arch = dict(embed_dims=16, num_layers=4)
    backbone = VisionLSTM(arch, version, img_size=(16, 20), patch_size=4)
    raw = to_official(backbone.state_dict())
    assert set(raw) == {key for key in small('raw', version) if not key.startswith('head.')}
    skip = backbone.blocks[1].layers[1].scans[0].skip
    assert raw['xlstm.blocks.3.xlstm.learnable_skip'].data_ptr() == skip.data_ptr()


@pytest.mark.parametrize(
    ('official', 'layout', 'reason'),
    [
        (small('raw', 1, scans=QUAD), 'inference', 'layers of several scans'),
        (small('raw', 1, class_token=True), 'inference', 'a class token'),
        (small('raw', 2, layers=5), 'inference', 'an odd number of layers'),
        (small('raw', 1), 'published', "layout 'published' is not known"),
    ],
    ids=['quad', 'class token', 'odd', 'unknown'],
)
def test_names_that_do_not_exist(official: State, layout: str, reason: str) -> None:
    assert reason in error_of(to_official, from_official(official), layout)


@pytest.mark.parametrize('options', [{'traversal': 'bidirectional'}, {'out_type': 'avg'}])
def test_version_2_of_our_own_designs(options: dict) -> None:
    backbone = VisionLSTM(dict(embed_dims=16, num_layers=2), patch_size=16, **options)
    if 'traversal' in options:
        assert 'several scans' in error_of(to_official, backbone.state_dict())
    else:
        assert 'head.0.weight' in to_official(backbone.state_dict())


# wrong ones


@pytest.mark.parametrize(('layout', 'version'), LAYOUTS)
def test_left_over_and_missing_are_both_named(layout: str, version: int) -> None:
    official = small(layout, version)
    gone = next(key for key in official if key.endswith('learnable_skip'))
    del official[gone]
    official[f'{gone}.extra'] = torch.zeros(1)
    message = error_of(from_official, official)
    assert f'left over {gone}.extra; missing {gone}' in message
    assert f'version {version}, {layout} layout' in message


def test_a_layer_that_is_gone_is_the_one_named() -> None:
    official = {k: v for k, v in small('raw', 2).items() if not k.startswith('xlstm.blocks.2.')}
    message = error_of(from_official, official)
    assert 'left over nothing' in message and 'missing xlstm.blocks.2.' in message


def test_absurd_numbers_make_no_absurd_tables() -> None:
    official = small() | {'xlstm.blocks.999999.xlstm.learnable_skip': torch.ones(1)}
    message = error_of(from_official, official)
    assert 'left over xlstm.blocks.999999.xlstm.learnable_skip' in message
    assert len(message) < 2000


@pytest.mark.parametrize('end', ['k', 'v', 'k_rev'])
def test_separate_convolutions_are_refused_by_name(end: str) -> None:
    key = f'xlstm.blocks.0.xlstm.conv1d_{end}.conv.weight'
    official = small('raw', 1) | {key: torch.zeros(32, 1, 4)}
    message = error_of(from_official, official)
    assert key in message and 'separate convolutions' in message and 'not support' in message


@pytest.mark.parametrize(
    'official',
    [
        {},
        {'conv1.weight': torch.zeros(1), 'layer1.0.conv1.weight': torch.zeros(1)},
        {'blocks.0.norm1.weight': torch.zeros(1), 'blocks.0.attn.qkv.weight': torch.zeros(1)},
        {'backbone.blocks.0.layers.0.scans.0.skip': torch.zeros(1)},
    ],
    ids=['empty', 'ResNet', 'ViT', 'ours'],
)
def test_other_models(official: State) -> None:
    assert not is_official(official)
    message = error_of(from_official, official)
    assert 'not an official ViL' in message
    assert all(key in message for key in official)


def test_layouts_are_told_apart() -> None:
    for layout, version in LAYOUTS:
        official = small(layout, version)
        ours = from_official(official)
        assert is_official(official) and not is_official(ours)
        assert not is_official({key.removeprefix('backbone.') for key in ours})
        assert 'left over' in error_of(from_official, ours)
        assert 'left over' in error_of(to_official, official)


def test_other_parts_of_a_model_are_left_over_on_the_way_back() -> None:
    ours = from_official(small()) | {'decode_head.weight': torch.zeros(1)}
    assert 'left over decode_head.weight' in error_of(to_official, ours)
