"""Train a model: `python tools/train.py CONFIG`."""

import vil_mm  # noqa: F401  registers models, data sets and hooks
from vil_mm.datasets import DatasetError
from vil_mm.engine.cli import config_of, run_parser
from vil_mm.engine.launch import prepare_training
from vil_mm.engine.layer_decay import LayerDecayError
from vil_mm.engine.optim import TrainingDivergedError
from vil_mm.engine.precision import PRECISIONS
from vil_mm.engine.processes import build_runner, prepare_processes
from vil_mm.models.pretrained import CheckpointError


def main() -> None:
    parser = run_parser('Train a model')
    parser.add_argument(
        '--resume', action='store_true', help='go on from the last checkpoint in the work dir'
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=PRECISIONS,
        help='mixed precision: float16 with loss scaling (GPUs only) or bfloat16; without a value '
        'as the config says, else float16 on a GPU, bfloat16 on a CPU',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the batch over the config's base_batch_size",
    )
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate on the way')
    args = parser.parse_args()
    try:
        cfg = config_of(args)
        prepare_training(
            cfg,
            resume=args.resume,
            amp=args.amp,
            auto_scale_lr=args.auto_scale_lr,
            validate=not args.no_validate,
        )
        prepare_processes(cfg)
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    try:
        build_runner(cfg).train()
    except (CheckpointError, DatasetError, LayerDecayError) as error:  # seen when all is built
        parser.exit(2, f'{parser.prog}: {error}\n')
    except TrainingDivergedError as error:
        parser.exit(1, f'{parser.prog}: {error}\n')


if __name__ == '__main__':
    main()
