"""Commands of `paydesk`, each in a process forked from one that has loaded every module.

`python command_server.py SOCKET` serves; command_client.py hands a command over with its
arguments, folder, environment, and standard input and outputs, and gets its exit status.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading

_MOST_BYTES = 1 << 20


def serve(path: str) -> None:
    """Returns in the process of each command only, which has then become that command."""
    import paydesk.assemble
    import paydesk.cli
    import paydesk.flows.doctor  # noqa: F401

    # A process that is forked has this thread alone.
    assert threading.active_count() == 1, threading.enumerate()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    while True:
        conn, _ = listener.accept()
        pid = os.fork()
        if pid == 0:
            listener.close()
            if os.fork() == 0:
                return _become(conn)
            _, status = os.wait()
            conn.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
            os._exit(0)
        conn.close()
        _reap()


def _become(conn: socket.socket) -> None:
    data, files, _, _ = socket.recv_fds(conn, _MOST_BYTES, 3)
    while not data.endswith(b"\n"):
        data += conn.recv(_MOST_BYTES)
    told = json.loads(data)
    conn.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environ"])
    sys.argv = ["paydesk", *told["arguments"]]


def _reap() -> None:
    """Let those go who have told an exit status."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return


if __name__ == "__main__":
    serve(sys.argv[1])
    from paydesk.cli import main

    main()
