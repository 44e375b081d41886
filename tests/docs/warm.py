"""A Python that has imported everything: it runs each command in a fork of its own.

`python warm.py SOCKET` listens there until nobody can write to its standard input any more.
``CLIENT`` is the program that takes the place of `python` on the PATH of a page's commands.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

CLIENT = """#!{python} -SE
import json, os, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect({path!r})
request = dict(argv=sys.argv, cwd=os.getcwd(), env=dict(os.environ))
socket.send_fds(line, [json.dumps(request).encode()], [0, 1, 2])
sys.exit(int(line.recv(16) or 1))
"""


def main(path: str) -> None:
    import mmpretrain.apis  # noqa: F401
    import mmseg.apis  # noqa: F401
    import stand_ins

    import vil_mm.apis
    import vil_mm.export  # noqa: F401

    stand_ins.install()
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    while True:
        line, _ = server.accept()
        message, streams, _, _ = socket.recv_fds(line, 1 << 20, 3)
        if not message:  # somebody only asked whether this process is there
            continue
        child = os.fork()
        if not child:
            _become(json.loads(message), streams)
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(child, 0)
        with line, suppress(OSError):  # who asked may be gone
            line.send(str(abs(os.waitstatus_to_exitcode(status))).encode())


def _end_with_the_caller() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock the forks would inherit
        pass
    os._exit(0)


def _become(request: dict, streams: list[int]) -> None:
    """Run the command line in this process, and end it."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(request['cwd'])
    os.environ.clear()
    os.environ.update(request['env'])
    code = 0
    try:
        _run(request['argv'])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(argv: list[str]) -> None:
    from stand_ins import without_torchrun

    name, *argv = argv
    if Path(name).name == 'torchrun':
        argv = without_torchrun(argv)
    if argv[0] == '-m':
        sys.argv, sys.path[0] = argv[1:], os.getcwd()
        runpy.run_module(argv[1], run_name='__main__', alter_sys=True)
    elif argv[0] == '-c':
        sys.argv = ['-c', *argv[2:]]
        exec(argv[1], {'__name__': '__main__'})
    else:
        sys.argv, sys.path[0] = argv, str(Path(argv[0]).resolve().parent)
        runpy.run_path(argv[0], run_name='__main__')


if __name__ == '__main__':
    main(sys.argv[1])
