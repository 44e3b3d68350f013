"""A proxy before a provider's server: the next answers come late, broken, refused or not at all."""

from __future__ import annotations

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

#: What can become of an answer; `_before`: the provider never gets the request.
TROUBLES = ("reset_before", "reset_after", "429", "500_before", "500_after", "503_html",
            "malformed", "empty", "cut", "slow_body")  # fmt: skip
#: So long a slow body takes, in pieces.
SLOW_S, PIECES = 6.0, 60


class TroubleProxy:
    """On a free port of 127.0.0.1. `trouble` strikes the next `times` requests whose path holds
    `about`; tokens are let through, so that the trouble is that of the call itself."""

    def __init__(self, url: str) -> None:
        self.target = urlsplit(url).netloc
        self.trouble = ""
        self.times = 0
        self.about = ""
        self.struck = 0
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.owner = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def make(self, trouble: str, about: str = "", times: int = 1) -> None:
        assert trouble in TROUBLES
        with self._lock:
            self.trouble, self.about, self.times, self.struck = trouble, about, times, 0

    def end(self) -> None:
        with self._lock:
            self.times = 0

    def takes(self, path: str) -> str:
        with self._lock:
            if not self.times or "token" in path or self.about not in path:
                return ""
            self.times -= 1
            self.struck += 1
            return self.trouble

    def close(self) -> None:
        self.stop.set()
        if self._thread.is_alive():
            self._http.shutdown()
            self._http.server_close()
            self._thread.join(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _any(self) -> None:
        owner: TroubleProxy = self.server.owner
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        trouble = owner.takes(self.path)
        if trouble == "reset_before":
            self.close_connection = True
            return
        if trouble == "429":
            return self._send(429, b'{"error": {"type": "invalid_request_error"}}')
        if trouble == "500_before":
            return self._send(500, b'{"error": {"type": "api_error"}}')
        status, answer = self._forward(owner.target, body)
        if trouble == "reset_after":
            self.close_connection = True
        elif trouble == "500_after":
            self._send(500, b'{"error": {"type": "api_error"}}')
        elif trouble == "503_html":
            self._send(503, b"<html>unavailable</html>", "text/html")
        elif trouble == "malformed":
            self._send(200, b'{"id": "half an answer", ')
        elif trouble == "empty":
            self._send(200, b"{}")
        elif trouble == "cut":
            self._send(status, answer, promised=len(answer) + 50)
            self.close_connection = True
        elif trouble == "slow_body":
            self._slowly(status, answer)
        else:
            self._send(status, answer)

    def _forward(self, target: str, body: bytes) -> tuple[int, bytes]:
        back = http.client.HTTPConnection(target, timeout=30)
        try:
            kept = {k: v for k, v in self.headers.items()
                    if k.lower() not in ("host", "connection", "accept-encoding")}  # fmt: skip
            back.request(self.command, self.path, body or None, kept)
            answer = back.getresponse()
            return answer.status, answer.read()
        finally:
            back.close()

    def _send(
        self, status: int, body: bytes, kind: str = "application/json",
        promised: int | None = None,
    ) -> None:  # fmt: skip
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        self.end_headers()
        self.wfile.write(body)

    def _slowly(self, status: int, body: bytes) -> None:
        """A piece now and then: each comes before a read gives up, all of it after the deadline."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        owner: TroubleProxy = self.server.owner
        until = time.monotonic() + SLOW_S
        for at in range(PIECES):
            if owner.stop.wait(max(0.0, (until - time.monotonic()) / (PIECES - at))):
                break
            try:
                self.wfile.write(body[len(body) * at // PIECES : len(body) * (at + 1) // PIECES])
                self.wfile.flush()
            except OSError:
                break
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: a test's output is the test's."""
