"""Train a model: `python tools/train.py CONFIG`."""

from mmengine.runner import Runner

import vil_mm  # noqa: F401  registers models, data sets and hooks
from vil_mm.datasets import DatasetError
from vil_mm.engine.cli import config_of, run_parser
from vil_mm.engine.launch import prepare_training
from vil_mm.models.pretrained import CheckpointError


def main() -> None:
    parser = run_parser('Train a model')
    parser.add_argument(
        '--resume', action='store_true', help='go on from the last checkpoint in the work dir'
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision (float16 on GPU, bfloat16 on CPU)'
    )
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate on the way')
    args = parser.parse_args()
    try:
        cfg = config_of(args)
        prepare_training(cfg, resume=args.resume, amp=args.amp, validate=not args.no_validate)
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    try:
        Runner.from_cfg(cfg).train()
    except (CheckpointError, DatasetError) as error:  # seen when model and data are built
        parser.exit(2, f'{parser.prog}: {error}\n')


if __name__ == '__main__':
    main()
