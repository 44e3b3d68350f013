"""What the small servers of providers' interfaces share: a port, routes, lost answers, trouble."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class Refusal(Exception):
    """An answer with this status and body."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class Request:
    """A request as a route sees it."""

    def __init__(self, method: str, path: str, headers: Any, body: bytes) -> None:
        parts = urlsplit(path)
        self.method, self.path = method, parts.path
        self.query = parse_qsl(parts.query)
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_float=Decimal) if self.body.strip() else {}

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))


Route = Callable[..., tuple[int, Any]]


class ProviderServer:
    """Routes on a free port of 127.0.0.1. One request at a time changes the state.

    Routes are (method, pattern of the whole path, function); the groups are its arguments.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.requests: list[Request] = []
        self.routes: list[tuple[str, re.Pattern[str], Route]] = []
        self.lose_next = False
        self.closed = False
        self.echo = False
        self.fail_with: int | None = None
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.owner = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """May be called twice. Connections that are kept open are served no more either."""
        self.closed = True
        if self._thread.is_alive():
            self._http.shutdown()
            self._http.server_close()
            self._thread.join(timeout=10)

    def route(self, method: str, pattern: str, function: Route) -> None:
        self.routes.append((method, re.compile(pattern), function))

    def loses(self, request: Request) -> bool:
        """Whether this request is one whose answer can be lost: it makes something."""
        return request.method == "POST"

    def seen(self, method: str, pattern: str) -> list[Request]:
        return [r for r in self.requests if r.method == method and re.fullmatch(pattern, r.path)]

    def serve(self, request: Request) -> tuple[int, Any] | None:
        """(status, JSON or bytes), or None where the answer is lost."""
        with self.lock:
            if self.closed:
                return None
            self.requests.append(request)
            if self.echo:
                told = f"credentials {request.headers.get('Authorization')} {request.body!r}"
                return 400, {"message": told, "error": told, "name": told}
            if self.fail_with is not None:
                return self.fail_with, {"message": "trouble"}
            for method, pattern, function in self.routes:
                found = pattern.fullmatch(request.path)
                if found and method == request.method:
                    try:
                        answer = function(request, *found.groups())
                    except Refusal as refusal:
                        answer = refusal.status, refusal.body
                    if self.lose_next and self.loses(request) and answer[0] < 300:
                        self.lose_next = False
                        return None
                    return answer
            return 404, {"message": "no such address"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        owner: ProviderServer = self.server.owner
        answer = owner.serve(Request(self.command, self.path, self.headers, body))
        if answer is None:
            self.close_connection = True
            return
        status, content = answer
        is_raw = isinstance(content, bytes)
        sent = content if is_raw else json.dumps(content, default=str).encode()
        sent = b"" if content is None else sent
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if is_raw else "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: a test's output is the test's."""
