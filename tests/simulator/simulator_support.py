"""What the tests of the simulator share: the SDK with validation, forms, a shop's endpoint."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import requests
import stripe

from paydesk.simulator import api, shapes
from paydesk.simulator.errors import StripeError
from paydesk.simulator.testing import Sandbox


def validated(answer: requests.Response, *args: Any, **kwargs: Any) -> None:
    """Check an answer of the API, errors included, against Stripe's own description."""
    path = urlsplit(answer.url).path
    try:
        key, _ = api.route(answer.request.method or "", path)
    except StripeError:
        key = ""
    if answer.status_code >= 400:
        shapes.validate("error", answer.json())
    else:
        shapes.validate_answer(key, answer.status_code, answer.json())
    assert answer.headers["Request-Id"].startswith("req_")


def make_client(sandbox: Sandbox, retries: int = 0, timeout: float = 60) -> stripe.StripeClient:
    """The unmodified SDK; every answer it gets is validated on the way."""
    session = requests.Session()
    session.hooks["response"].append(validated)
    session.trust_env = False
    return stripe.StripeClient(
        sandbox.secret_key,
        base_addresses={"api": sandbox.url, "files": sandbox.url},
        http_client=stripe.RequestsClient(session=session, timeout=timeout),
        max_network_retries=retries,
    )


def session_params(**more: Any) -> dict[str, Any]:
    """A Checkout Session of the pack of 9.99 USD."""
    return {
        "mode": "payment",
        "success_url": "http://shop.test/thanks?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "http://shop.test/packs",
        "line_items": [
            {
                "price_data": {
                    "currency": "usd", "unit_amount": 999,
                    "product_data": {"name": "Creator Pack", "description": "150 credits"},
                },
                "quantity": 1,
            }
        ],
        **more,
    }


def card_form(number: str = "4242424242424242", **more: str) -> dict[str, str]:
    """What the hosted page's form sends."""
    return {
        "email": "maya@northwind.test", "number": number, "expiry": "12 / 40", "cvc": "123",
        "name": "Maya Okafor", **more,
    }


def wait_for(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The first true value of the condition; fails when there is none in time."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.005)
    return value


class Receiver:
    """A shop's webhook endpoint: remembers what came and answers as told."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        #: Where set, answers wait for it.
        self.busy: threading.Event | None = None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.answers.pop(0) if receiver.answers else 200
                receiver.received.append((dict(self.headers), body))
                if receiver.busy is not None:
                    receiver.busy.wait(60)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):  # the sender may have been killed
                    super().handle()

            def log_message(self, format: str, *args: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in list(self.received)]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
