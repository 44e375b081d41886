"""torchrun for dist_train.sh: it passes signals on, and the exit status of its processes.

torchrun itself ends its processes on SIGTERM within 30 seconds, dies of SIGUSR1, and exits with 1
and a traceback whenever a process has another status than 0.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

PASSED_ON = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# wrong arguments; a full disk; a training that a signal ended and that can be resumed; Ctrl-C
EXPECTED = (2, 74, 75, 130)
OPTION = '--signals-to-handle'


def main() -> None:
    for number in PASSED_ON:
        signal.signal(number, pass_on)
    own = [f'{OPTION}=SIGHUP,SIGQUIT'] if OPTION in run.get_args_parser().format_help() else []
    for name in ('api', 'multiprocessing.api', 'agent.server.api', 'multiprocessing.errors'):
        logging.getLogger(f'torch.distributed.elastic.{name}').addFilter(is_news)
    try:
        run.main(own + sys.argv[1:])
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        if len(codes) == 1 and codes <= set(EXPECTED):
            raise SystemExit(codes.pop()) from error  # the first process has said why
        raise


def pass_on(number: int, frame: FrameType | None) -> None:
    """Send a signal to the processes; without any, end."""
    pids = children(os.getpid())
    for pid in pids:
        os.kill(pid, number)
    if not pids:
        raise SystemExit(128 + number)


def children(parent: int) -> list[int]:
    """Processes that another has started (Linux)."""
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            state, ppid = stat.read_text().rpartition(')')[2].split()[:2]
        except OSError:  # it has ended
            continue
        if int(ppid) == parent and state != 'Z':
            found.append(int(stat.parent.name))
    return found


def is_news(record: logging.LogRecord) -> bool:
    """Whether a message of torchrun says more than that a process ended as expected."""
    message = record.getMessage()
    expected = any(f'(exitcode: {code})' in message for code in EXPECTED)
    return not expected and 'closing signal SIGTERM' not in message


if __name__ == '__main__':
    main()
