"""Runs the application under uvicorn, and ends it in order."""

from __future__ import annotations

import asyncio
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: What is under way gets so long after SIGTERM.
GRACE_S = 10
#: The head of a request has so long to arrive and may be so large, give or take what one read of
#: the socket brings.
HEAD_S = 20.0
MAX_HEAD = 65_536
#: After an answer a connection is kept so long for the next request.
IDLE_S = 30
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n" \
             b"Connection: close\r\n\r\n"


class Protocol(HttpToolsProtocol):
    """Limits what uvicorn leaves open: how long a head may take, how large it may be, and what
    comes after an answer but begins no request. Bodies are limited by the edge of the application.
    """

    _idle_until = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._too_slow.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_head = self._in_head
        super().data_received(data)
        if was_in_head and self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()
        self._stay_idle()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._idle_until = self.loop.time() + self.timeout_keep_alive

    def _stay_idle(self) -> None:
        """What came was no head: the rest of a body that was answered before it was read, or empty
        lines. It gives the connection no more time."""
        is_ours = not self.transport.is_closing() and self.transport.get_protocol() is self
        is_idle = self.cycle is not None and self.cycle.response_complete and not self._in_head
        if is_ours and is_idle and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_at(
                self._idle_until, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._too_slow.cancel()
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._too_slow.cancel()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._in_head, self._head = True, 0
        self._too_slow = self.loop.call_later(HEAD_S, self.transport.close)


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
        app, host=host, port=port, uds=uds, http=Protocol, log_config=None, access_log=False,
        server_header=False, date_header=True, timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=IDLE_S, ws_max_size=64 * 1024,
    )  # fmt: skip
    return Server(config)


def serve(
    app: FastAPI, *, host: str = "127.0.0.1", port: int = 8000, sock: socket.socket | None = None
) -> None:
    """Serve until SIGTERM or SIGINT: stop accepting, finish what is under way, stop the rest."""
    server(app, host=host, port=port).run(sockets=[sock] if sock is not None else None)
