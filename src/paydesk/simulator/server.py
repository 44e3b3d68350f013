"""Serving the simulator: a socket, uvicorn, and an end when the parent process ends."""

from __future__ import annotations

import logging
import socket
import sys
import threading

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .faults import CONNECTION

BACKLOG = 1024


class Protocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # chosen at run time
    """Uvicorn's protocol that lets a switch hang up before the answer has begun."""

    def on_message_begin(self) -> None:
        super().on_message_begin()  # type: ignore[misc]
        self.scope.setdefault("extensions", {})[CONNECTION] = self.transport  # type: ignore


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The event loop switches Nagle's algorithm off only where the protocol is named; with it on,
    # every answer waits 40 ms for the client's delayed acknowledgement.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.bind((host, port))
    sock.listen(BACKLOG)
    return sock


def inherited(fd: int) -> socket.socket:
    """The listening socket that a parent process bound and handed over."""
    sock = socket.socket(fileno=fd)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def server(app: Starlette, *, log_level: str = "warning") -> uvicorn.Server:
    """A server for the app; start it with `serve(sockets=[...])` or `run(sockets=[...])`."""
    logging.getLogger("uvicorn.error").addFilter(_not_broken_on_purpose)
    # Clients keep connections for longer than the usual five seconds: one that is ended just as it
    # is used again would look like a call whose outcome nobody knows.
    config = uvicorn.Config(
        app, http=Protocol, log_level=log_level, access_log=False, lifespan="on",
        timeout_graceful_shutdown=1, timeout_keep_alive=75, server_header=False, backlog=BACKLOG,
    )
    return uvicorn.Server(config)


def _not_broken_on_purpose(record: logging.LogRecord) -> bool:
    """A connection that a switch broke off is no error of the server."""
    return "without completing response" not in record.getMessage()


def stop_at_stdin_eof(running: uvicorn.Server) -> None:
    """Ask the server to stop once standard input ends, as it does when the parent dies."""

    def wait() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        running.should_exit = True

    threading.Thread(target=wait, name="stdin-eof", daemon=True).start()
