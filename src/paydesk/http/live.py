"""Live feeds: the present balance first, then a message for every change, from any process.

A WebSocket at `/v1/credits/live`, server-sent events at `/v1/events/stream`. Both read the events
table after their own last number, so that a hint that is lost loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from paydesk import ids
from paydesk.errors import InvalidRequest, NotAuthenticated, PaydeskError, RateLimited, Unavailable
from paydesk.flows import credits, events
from paydesk.flows.events import Event
from paydesk.flows.listener import Listener
from paydesk.http import auth, owners, problems
from paydesk.http.auth import STAFF, Principal
from paydesk.http.routes import cell, check_parameters, enter
from paydesk.http.v1.events import event_shape

if TYPE_CHECKING:
    from paydesk.env import Env

ROLES = frozenset({"customer", *STAFF})
#: A comment or ping after so long without news, so that proxies keep the line open.
QUIET_S = 15.0
#: Feeds that one caller may have open in one process.
MAX_FEEDS = 20
MAX_ALL_FEEDS = 5000
#: Events read at once.
PAGE = 100
WEBSOCKET_PATHS = ("/v1/credits/live", "/payment/credits/live")
STREAM_PATH = "/v1/events/stream"
STREAM_ACCESS = cell("customer", *STAFF, owner="own")["openapi_extra"]["x-access"]

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Feeds:
    """The open feeds of this process, over one Listener."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._listener = Listener(env)
        env.cache.listen = self._listener.start
        self._open: dict[str, int] = {}
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End every feed soon: the process is about to go. Called in the event loop."""
        self._stopping.set()

    def close(self) -> None:
        if self._env.cache.listen == self._listener.start:
            self._env.cache.listen = None
        self._listener.close()

    @contextlib.asynccontextmanager
    async def place(self, who: Principal) -> AsyncIterator[None]:
        """A place for one more feed. Raises RateLimited, Unavailable."""
        if sum(self._open.values()) >= MAX_ALL_FEEDS or self._stopping.is_set():
            raise Unavailable("Too many feeds are open.", retry_after_s=5)
        if self._open.get(who.caller, 0) >= MAX_FEEDS:
            raise RateLimited(f"At most {MAX_FEEDS} feeds may be open at once.")
        self._open[who.caller] = self._open.get(who.caller, 0) + 1
        try:
            yield
        finally:
            self._open[who.caller] -= 1
            if not self._open[who.caller]:
                del self._open[who.caller]

    async def changes(
        self, customer_id: UUID, is_let_in: Callable[[], Awaitable[Any]], after: int | None
    ) -> AsyncIterator[tuple[int, list[Event], int]]:
        """(last number, events since, balance), the present state first; again after QUIET_S
        without news, with no events. Ends with the process, and when `is_let_in` raises
        NotAuthenticated: the caller's token has ended or was revoked."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake(_: UUID, __: int) -> None:
            with contextlib.suppress(RuntimeError):  # The loop may be gone by now.
                loop.call_soon_threadsafe(woken.set)

        unsubscribe = self._listener.subscribe(customer_id, wake)
        try:
            while True:
                after, found, balance = await asyncio.to_thread(self._read, customer_id, after)
                yield after, found, balance
                if len(found) < PAGE:
                    await _first_of(woken.wait(), self._stopping.wait(), timeout_s=QUIET_S)
                if self._stopping.is_set():
                    return
                woken.clear()
                await is_let_in()
        except NotAuthenticated:
            return
        finally:
            unsubscribe()

    def _read(self, customer_id: UUID, after: int | None) -> tuple[int, list[Event], int]:
        # One snapshot: a change between the two would show the balance without its cause.
        with self._env.db.snapshot() as tx:
            seq = events.last_seq(tx, customer_id) if after is None else after
            found = events.follow(tx, customer_id, seq, limit=PAGE)
            balance = credits.balance_total(tx, customer_id, self._env.now())
        return (found[-1].seq if found else seq), found, balance


async def _first_of(*waits: Any, timeout_s: float) -> None:
    tasks = [asyncio.ensure_future(w) for w in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def websocket(socket: WebSocket) -> None:
    """Balance messages as JSON texts: `{type, customer, balance, sequence, cause}`."""
    env, feeds = socket.app.state.env, socket.app.state.feeds
    try:
        credentials, protocol = _credentials(socket)
        who = auth.admit(await socket.app.state.gatekeeper.identify(credentials), ROLES)
        asked = socket.query_params.get("customer")
        customer_id = await asyncio.to_thread(owners.owner, env, who, asked)
        async with feeds.place(who):
            await socket.accept(subprotocol=protocol)
            is_let_in = partial(socket.app.state.gatekeeper.identify, credentials)
            await serve(socket, feeds.changes(customer_id, is_let_in, None), customer_id)
    except PaydeskError as exc:
        await problems.deny(socket, exc)


def _credentials(socket: WebSocket) -> tuple[str | None, str | None]:
    """The Authorization header, or for browsers `Sec-WebSocket-Protocol: bearer, <token>`, and
    the protocol to agree to."""
    given = socket.headers.get("authorization")
    offered = [p.strip() for p in socket.headers.get("sec-websocket-protocol", "").split(",")]
    if given is None and len(offered) == 2 and offered[0] == "bearer":
        return f"Bearer {offered[1]}", "bearer"
    return given, None


async def serve(socket: WebSocket, changes: Any, customer_id: UUID) -> None:
    """Send until either side ends; what the client says is read and not heeded."""
    gone = asyncio.create_task(_until_gone(socket))
    customer, told = ids.show("customer", customer_id), None
    try:
        async for seq, found, balance in changes:
            if gone.done():
                return
            for message in _balance_messages(customer, seq, found, balance, told):
                await socket.send_text(message)
            told = balance
        await socket.close(code=1001 if not gone.done() else 1000)
    except (WebSocketDisconnect, RuntimeError):
        return
    finally:
        gone.cancel()
        await changes.aclose()


async def _until_gone(socket: WebSocket) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return


def _balance_messages(
    customer: str, seq: int, found: list[Event], balance: int, told: int | None
) -> list[str]:
    """One message for each event that states a balance; the present one at first, and whenever
    the balance moved without an event, as by an expiry."""
    messages = [
        {
            "type": "balance.changed", "customer": customer, "balance": one.data["balance"],
            "sequence": one.seq, "cause": {"type": one.type, "amount": one.data.get("amount")},
        }
        for one in found
        if isinstance(one.data.get("balance"), int)
    ]  # fmt: skip
    last = messages[-1]["balance"] if messages else told
    if told is None or last != balance:
        kind = "balance" if told is None else "balance.changed"
        messages.append({"type": kind, "customer": customer, "balance": balance, "sequence": seq,
                         "cause": None})  # fmt: skip
    return [_encode(message).decode() for message in messages]


async def stream(request: Request) -> Response:
    """Server-sent events: `balance` first, then every event of the customer with its number as id.

    `Last-Event-ID` (or `after`) resumes after a number. Browsers' EventSource cannot send headers:
    for it alone, `token` carries the token.
    """
    env, feeds = request.app.state.env, request.app.state.feeds
    token, credentials = request.query_params.get("token"), request.headers.get("authorization")
    if token is not None:
        if credentials is not None:
            raise NotAuthenticated("Send the token once.")
        credentials = f"Bearer {token}"
        request.scope["paydesk.caller"] = await request.app.state.gatekeeper.identify(credentials)
    enter(request.scope, ROLES, STREAM_PATH)
    check_parameters(request, {"customer", "token", "after"})
    who: Principal = request.scope["paydesk.who"]
    asked = request.query_params.get("customer")
    customer_id = await asyncio.to_thread(owners.owner, env, who, asked)
    after = _after(request)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    place = contextlib.AsyncExitStack()
    await place.enter_async_context(feeds.place(who))
    is_let_in = partial(request.app.state.gatekeeper.identify, credentials)
    changes = feeds.changes(customer_id, is_let_in, after)
    body = _lines(changes, customer_id, env.settings.live, place)
    return StreamingResponse(body, headers=headers, media_type="text/event-stream")


def _after(request: Request) -> int | None:
    text = request.headers.get("last-event-id") or request.query_params.get("after")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidRequest("after is the number of an event.", param="after")
    return int(text)


async def _lines(
    changes: Any, customer_id: UUID, livemode: bool, place: contextlib.AsyncExitStack
) -> AsyncIterator[bytes]:
    customer, is_first = ids.show("customer", customer_id), True
    try:
        async for seq, found, balance in changes:
            for one in found:
                data = _encode(event_shape(one, livemode)).decode()
                yield f"id: {one.seq}\nevent: {one.type}\ndata: {data}\n\n".encode()
            if is_first or found:
                state = {"customer": customer, "balance": balance, "sequence": seq}
                yield f"event: balance\ndata: {_encode(state).decode()}\n\n".encode()
            else:
                yield b": quiet\n\n"
            is_first = False
    finally:
        await changes.aclose()
        await place.aclose()
