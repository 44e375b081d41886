"""Draw the small segmentation data set of the demo: ``python tools/draw_dataset.py data/drawn``."""

from __future__ import annotations

import argparse

from vil_mm.datasets import draw_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', help='folder to make; the same set found there is left as it is')
    parser.add_argument('--num-train', type=int, default=240, help='pictures for training')
    parser.add_argument('--num-val', type=int, default=40, help='pictures for validation')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    try:
        draw_dataset(args.root, args.num_train, args.num_val, seed=args.seed)
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')


if __name__ == '__main__':
    main()
