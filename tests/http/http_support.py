"""What the tests of the HTTP service share: clients with credentials, and a running server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
from starlette.testclient import TestClient

from paydesk.http import auth
from paydesk.http.app import create_app
from paydesk.http.server import server

OWN_KEY = "sk_test_of_the_tests"


class Client(TestClient):
    """A client of an application in this process, for one caller.

    `client.as_user("user_1")`, `client.as_key("sk_…")` are further callers of the same desk. A
    webhook is acknowledged before a provider is asked about it: a request waits until it was.
    """

    def __init__(self, app: Any, authorization: str | None = None) -> None:
        headers = {"Authorization": authorization} if authorization else {}
        super().__init__(app, headers=headers, raise_server_exceptions=False)
        self.env = app.state.env

    def request(self, method: str, url: Any, **more: Any) -> httpx.Response:
        answer = super().request(method, url, **more)
        if method.upper() == "POST" and "webhook" in str(url) and answer.status_code == 200:
            heard(self.env)
        return answer

    def as_user(self, user: str = "user_123", role: str | None = None) -> Client:
        token = auth.make_token(self.env.settings, user, role=role)
        return self.with_authorization(f"Bearer {token}")

    def as_key(self, secret: str = OWN_KEY) -> Client:
        return self.with_authorization(f"Bearer {secret}")

    def as_nobody(self) -> Client:
        return self.with_authorization(None)

    def with_authorization(self, value: str | None) -> Client:
        other = Client(self.app, value)
        other.portal = self.portal  # One event loop for all callers of a test.
        return other


def heard(env: Any) -> None:
    """Wait until every webhook was applied, or put off."""
    until = time.monotonic() + 60
    while True:
        with env.db.read() as tx:
            if not tx.value("select count(*) from provider_events where state = 'new'"):
                return
        assert time.monotonic() < until, "a webhook is not taken up"
        time.sleep(0.002)


@contextlib.contextmanager
def running(env: Any, **settings: Any) -> Iterator[str]:
    """The service on a port of its own in a thread of its own; its address."""
    app = create_app(env, **settings)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        one = server(app)
        thread = threading.Thread(target=one.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        try:
            until = time.monotonic() + 60
            while not one.started:
                assert thread.is_alive() and time.monotonic() < until, "the server did not start"
                time.sleep(0.005)
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            app.state.feeds.stop()
            one.should_exit = True
            thread.join(60)
            assert not thread.is_alive(), "the server did not stop"


def problem_of(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem in a refusal, checked for what every one of them has."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["request_id"] == response.headers["request-id"]
    assert {"type", "title", "detail"} <= body.keys()
    return body
