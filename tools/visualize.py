"""Visualise a model: features, receptive fields, decay of its memory, errors.

``python tools/visualize.py features IMAGE CONFIG CHECKPOINT --out features.png``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from command_line import Parser, existing, main, output, positive, read_config

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mmengine.config import Config

    from vil_mm.pictures.samples import Sample


def make_parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pictures = parser.add_subparsers(dest='what', required=True, metavar='PICTURE')
    sub = pictures.add_parser('features', help='principal components of the tokens as colours')
    _add_images(sub, 'IMAGES', 'image, or folder of images')
    _add_common(sub)
    sub.add_argument('--blocks', type=positive, nargs='+', help='blocks to draw, from 1')
    _add_count(sub, '--max-images', 4, 'number of images from a folder')

    sub = pictures.add_parser('receptive-field', help='what the middle token sees')
    _add_images(sub, 'IMAGES', 'image, or folder of images to average over')
    _add_common(sub)
    sub.add_argument('--layers', type=positive, nargs='+', help='layers to draw, from 1')
    _add_count(sub, '--draws', 4, 'random channel signs per image')
    _add_count(sub, '--max-images', 8, 'number of images from a folder')

    sub = pictures.add_parser('decay', help='what the forget gates keep of each token')
    _add_images(sub, 'IMAGE', 'image')
    _add_common(sub)
    sub.add_argument(
        '--token',
        type=int,
        nargs=2,
        metavar=('ROW', 'COLUMN'),
        help='show what remains when this token is read; default: at the end of the scan',
    )

    sub = pictures.add_parser('errors', help="errors of a segmentor on its config's test data")
    _add_common(sub, shape=False)
    sub.add_argument('--index', type=int, nargs='+', default=[0, 1, 2], help='images, from 0')
    return parser


def _add_images(parser: Parser, name: str, help: str) -> None:
    parser.add_argument('images', type=existing('image or folder'), metavar=name, help=help)


def _add_count(parser: Parser, name: str, default: int, help: str) -> None:
    parser.add_argument(
        name, type=positive, default=default, metavar='N', help=f'{help} ({default})'
    )


def _add_common(parser: Parser, shape: bool = True) -> None:
    parser.add_config()
    parser.add_weights()
    parser.add_argument(
        '--out', type=output('.png'), required=True, metavar='FILE.png', help='picture to write'
    )
    if shape:
        parser.add_shape(
            "side, or height and width, to resize to; default: the config's test pipeline"
        )
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_cfg_options()


def draw(args: argparse.Namespace) -> Figure:
    from vil_mm.datasets.images import list_images
    from vil_mm.pictures import decay, features
    from vil_mm.pictures.samples import describe_weights, find_backbone, read_samples
    from vil_mm.runs.build import load_model
    from vil_mm.runs.devices import check_device

    check_device(args.device)
    cfg = read_config(args)
    if args.what == 'errors':
        return draw_errors(args, cfg)
    paths = list_images(args.images)[: getattr(args, 'max_images', 1)]
    model = load_model(cfg, args.checkpoint, args.device)
    backbone = find_backbone(model)
    shape = args.shape
    if args.what == 'receptive-field' and shape is None:
        grid, patch = backbone.pos_embed.embed.shape[1:3], backbone.patch_embed.patch_size
        shape = (grid[0] * patch, grid[1] * patch)
    samples = read_samples(model, cfg, paths, shape)
    title = f'{Path(args.config).name}, {describe_weights(args.checkpoint)}'
    if args.what == 'features':
        blocks = [block - 1 for block in args.blocks] if args.blocks else None
        return features.draw_features(backbone, samples, title, blocks)
    if args.what == 'decay':
        token = tuple(args.token) if args.token else None
        gates = decay.read_gates(backbone, samples[0].inputs)
        return decay.draw_decay(gates, samples[0], title, token)
    return draw_fields(args, backbone, samples, title)


def draw_fields(args: argparse.Namespace, backbone, samples: list[Sample], title: str) -> Figure:
    from vil_mm.pictures import receptive_field
    from vil_mm.progress import show_progress, track

    layers = [layer - 1 for layer in args.layers] if args.layers else None
    layers = receptive_field.default_layers(backbone) if layers is None else layers
    batches = [sample.inputs for sample in samples for _ in range(args.draws)]
    with show_progress() as progress:
        steps = track(batches, len(batches), 'draws', progress)
        fields = receptive_field.receptive_fields(backbone, steps, layers)
    for field in fields:
        before, own, after = (100 * share for share in field.shares)
        name = receptive_field.layer_name(field.layer)
        print(f'{name:<10} before {before:5.1f} %  own {own:5.1f} %  after {after:5.1f} %')
    height, width = samples[0].inputs.shape[-2:]
    count = f'{len(samples)} image{"s" if len(samples) > 1 else ""}'
    return receptive_field.draw_fields(fields, f'{title}, {count} of {height} x {width} pixels')


def draw_errors(args: argparse.Namespace, cfg: Config) -> Figure:
    from vil_mm.pictures import errors
    from vil_mm.pictures.samples import describe_weights
    from vil_mm.progress import show_progress, track
    from vil_mm.runs.build import load_model
    from vil_mm.runs.checks import check_data
    from vil_mm.runs.data import check_samples
    from vil_mm.runs.protocols import use_protocol

    model = load_model(cfg, args.checkpoint, args.device)
    errors.check_segmentor(model)
    check_data(cfg, 'test')
    check_samples(cfg, 'test')
    use_protocol(cfg)
    dataset = errors.test_data(cfg)
    errors.check_indices(dataset, args.index)
    with show_progress() as progress:
        steps = track(args.index, len(args.index), 'images', progress)
        results = [errors.predict(model, dataset, index) for index in steps]
    for result in results:
        miou, accuracy = result.scores()
        print(f'{result.name}: mIoU {miou:.2f} %, {accuracy:.2f} % of labelled pixels right')
    title = f'{Path(args.config).name}, {describe_weights(args.checkpoint)}'
    return errors.draw_errors(results, dataset.metainfo, title)


def run(args: argparse.Namespace) -> None:
    import torch

    from vil_mm.pictures.figures import save_figure

    torch.manual_seed(0)
    print(save_figure(draw(args), args.out))


if __name__ == '__main__':
    main(make_parser(), run)
