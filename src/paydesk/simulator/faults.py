"""Trouble on the wire: slow, refused, broken or lost answers, as the switches ask for."""

from __future__ import annotations

import asyncio
from collections import deque
from fnmatch import fnmatchcase
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import ids
from .config import Fault
from .engine import Simulator, encode
from .errors import StripeError

#: Where the server puts the connection of a call, for those that are to be broken off.
CONNECTION = "paydesk.connection"


class Faults:
    """Wraps the application; the switches' own paths are never disturbed."""

    def __init__(self, app: ASGIApp, sim: Simulator) -> None:
        self.app = app
        self.sim = sim
        self._calls: deque[float] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._is_too_fast(scope["path"]):
            self.sim.count("rate_limited")
            await _refuse(send, 429)
            return
        fault = self._next(scope) if scope["type"] == "http" else None
        if fault is None:
            await self.app(scope, receive, send)
            return
        self.sim.count(f"fault_{fault.kind}")
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            await self.app(scope, receive, send)
        elif fault.kind in ("429", "500"):
            await _refuse(send, int(fault.kind))
        elif fault.kind == "drop_before":
            await _break(scope, send)
        else:
            await self._after(fault, scope, receive, send)

    def _is_too_fast(self, path: str) -> bool:
        """Whether the last second had as many API calls as are allowed; those refused count not."""
        limit, now = self.sim.switches.rate_limit, monotonic()
        if not limit or not path.startswith("/v"):
            return False
        while self._calls and self._calls[0] <= now - 1.0:
            self._calls.popleft()
        if len(self._calls) >= limit:
            return True
        self._calls.append(now)
        return False

    def _next(self, scope: Scope) -> Fault | None:
        """The first fault that fits this call; it is used up after its number of times."""
        path = scope["path"]
        if path.startswith("/_sim"):
            return None
        for fault in self.sim.switches.faults:
            if fault.method in ("*", scope["method"]) and fnmatchcase(path, fault.path):
                fault.times -= 1
                if fault.times <= 0:
                    self.sim.switches.faults.remove(fault)
                return fault
        return None

    async def _after(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call do its work, then keep its answer from the caller."""

        async def swallow(message: Message) -> None:
            return None

        await self.app(scope, receive, swallow)
        if fault.kind == "500_after":
            await _refuse(send, 500)
            return
        if fault.kind == "timeout_after":
            await asyncio.sleep(fault.seconds)
        await _break(scope, send)


async def _refuse(send: Send, status: int) -> None:
    request_id = ids.new("request")
    if status == 429:
        error = StripeError(
            "Request rate limit exceeded. Learn more about rate limits here "
            "https://stripe.com/docs/rate-limits.",
            status=429, code="rate_limit",
        )
    else:
        error = StripeError(
            "Sorry, something went wrong on Stripe's end.", status=500, type="api_error"
        )
    body = encode(error.body(request_id))
    headers = [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
        (b"request-id", request_id.encode()),
    ]
    if status == 429:
        headers.append((b"stripe-rate-limited-reason", b"global-rate"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _break(scope: Scope, send: Send) -> None:
    """Hang up without an answer; under another server, begin an answer that never ends."""
    connection = scope.get("extensions", {}).get(CONNECTION)
    if connection is not None:
        connection.close()
        await asyncio.sleep(0.01)  # until the server has noticed
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
