"""Runs the application under uvicorn, and ends it in order."""

from __future__ import annotations

import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

#: What is under way gets so long after SIGTERM.
GRACE_S = 10


class Server(uvicorn.Server):
    """Ends live feeds as soon as the signal comes, since they would hold the process open, and
    then returns to its caller, who has more to close, instead of dying of the signal."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        app: Any = self.config.app
        app.state.feeds.stop()
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def server(
    app: FastAPI, *, host: str = "127.0.0.1", port: int = 8000, uds: str | None = None
) -> Server:
    """A server for this application; `run(sockets=…)` serves on sockets bound before."""
    config = uvicorn.Config(
        app, host=host, port=port, uds=uds, log_config=None, access_log=False,
        server_header=False, date_header=True, timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=30, ws_max_size=64 * 1024, h11_max_incomplete_event_size=64 * 1024,
    )  # fmt: skip
    return Server(config)


def serve(
    app: FastAPI, *, host: str = "127.0.0.1", port: int = 8000, sock: socket.socket | None = None
) -> None:
    """Serve until SIGTERM or SIGINT: stop accepting, finish what is under way, stop the rest."""
    server(app, host=host, port=port).run(sockets=[sock] if sock is not None else None)
