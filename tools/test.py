"""Evaluate a checkpoint: `python tools/test.py CONFIG CHECKPOINT` prints mIoU, accuracy or mAP."""

import vil_mm  # noqa: F401  registers models, data sets and hooks
from vil_mm.datasets import DatasetError
from vil_mm.engine.cli import config_of, run_parser
from vil_mm.engine.launch import prepare_testing
from vil_mm.engine.processes import build_runner, prepare_processes
from vil_mm.models.pretrained import CheckpointError


def main() -> None:
    parser = run_parser('Evaluate a checkpoint')
    parser.add_argument('checkpoint', help='weights of the whole model')
    parser.add_argument(
        '--out',
        metavar='DIR',
        help='write predicted label maps, predictions.pkl of a classifier, or COCO results of a '
        'detector to DIR',
    )
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='draw predictions: of segmentation beside input and ground truth, in '
        'DIR/vis_data/vis_image; of a classifier on the images, in DIR; of a detector beside the '
        'ground truth, in DIR',
    )
    parser.add_argument(
        '--protocol',
        metavar='NAME',
        help="one of the config's evaluation protocols: official (default) or community; "
        'docs/segmentation.md',
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument(
        '--tiled',
        action='store_true',
        help='windows with bounded memory, for images of any size; docs/high_resolution.md',
    )
    args = parser.parse_args()
    try:
        cfg = config_of(args)
        prepare_testing(
            cfg,
            args.checkpoint,
            out=args.out,
            show_dir=args.show_dir,
            protocol=args.protocol,
            tta=args.tta,
            tiled=args.tiled,
        )
        prepare_processes(cfg)
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    try:
        build_runner(cfg).test()
    except (CheckpointError, DatasetError) as error:  # seen when model and data are built
        parser.exit(2, f'{parser.prog}: {error}\n')


if __name__ == '__main__':
    main()
