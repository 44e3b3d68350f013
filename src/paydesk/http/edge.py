"""The outermost layer: request ids, headers, hosts, body size, credentials, limits, logs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from paydesk import ids, telemetry
from paydesk.errors import (
    BodyTooLarge,
    InternalError,
    MalformedRequest,
    MisdirectedRequest,
    NotAuthenticated,
    PaydeskError,
    RequestTimeout,
    Unavailable,
)
from paydesk.http import limits, metrics, problems
from paydesk.logger import get_logger
from paydesk.rules.disputes import MAX_FILES_SIZE

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.http.auth import Gatekeeper
    from paydesk.http.limits import Limiter

log = get_logger("paydesk.http")

API_POLICY = b"default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    b"default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self';"
    b" object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
#: On every answer, unless the answer says otherwise.
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(self)"),
    (b"x-permitted-cross-domain-policies", b"none"),
)
HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
#: Files of evidence may be larger than other bodies: these, and a form around them.
MAX_FILE_BODY = MAX_FILES_SIZE + 65_536
#: A body must be whole within so long, however slowly it drips.
BODY_S, FILE_BODY_S = 30.0, 120.0
_FILE_PATH = re.compile(r"/v1/disputes/[^/]{1,255}/files")
READS = frozenset({"GET", "HEAD", "OPTIONS"})
METHODS = READS | {"POST", "PUT", "PATCH", "DELETE"}


class Edge:
    """Pure ASGI. Every answer leaves with a Request-Id and security headers; no fault leaves
    without being logged and answered as a problem."""

    def __init__(self, app: ASGIApp, env: Env) -> None:
        self.app = app
        self._max_body = env.settings.max_body_bytes
        self._max_file = max(self._max_body, MAX_FILE_BODY)
        self._hosts = _hosts(env.settings.trusted_hosts)
        extra = (HSTS,) if env.settings.base_url.startswith("https://") else ()
        self._headers = (*HEADERS, *extra)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        request_id = ids.show("request", ids.new_catalog())
        scope["paydesk.request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if scope["type"] != "http":
            await self._websocket(scope, receive, send)
            return
        if not telemetry.is_on():
            await self._http(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]
                   if k in (b"traceparent", b"tracestate")}  # fmt: skip
        with telemetry.span(
            method, kind="server", headers=headers, http_request_method=method
        ) as tell:
            status = await self._http(scope, receive, send)
            route = scope.get("paydesk.route")
            tell(f"{method} {route}" if route else None, http_route=route,
                 http_response_status_code=status or None)  # fmt: skip
            if status >= 500:
                tell(error_type=str(status))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._wrong_host(scope):
            await problems.deny(WebSocket(scope, receive, send), _wrong_host())
            return
        await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Answer; the status that was sent."""
        started, status = time.perf_counter(), 0

        async def sender(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._with_headers(scope, message.get("headers", ()))
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await _answer(refusal, scope, receive, sender)
            else:
                await self.app(scope, _limited(receive, *self._most(scope)), sender)
        except (BodyTooLarge, RequestTimeout) as exc:
            if not status:
                await _answer(exc, scope, receive, sender)
        except Exception as exc:
            log.error("fault", path=scope["path"], method=scope["method"], exc_info=exc)
            if status:
                raise
            await _answer(InternalError(), scope, receive, sender)
        finally:
            self._note(scope, status, time.perf_counter() - started)
        return status

    def _refusal(self, scope: Scope) -> PaydeskError | None:
        if self._wrong_host(scope):
            return _wrong_host()
        lengths = [v for k, v in scope["headers"] if k == b"content-length"]
        if not lengths:
            return None
        # Two readers of one message must not find different ends of it.
        if len(lengths) > 1 or not lengths[0].isdigit() or _names(scope, b"transfer-encoding"):
            return MalformedRequest("Say the body's length once: by Content-Length or in chunks.")
        most, _ = self._most(scope)
        return BodyTooLarge(f"A body may have {most} bytes.") if _above(lengths[0], most) else None

    def _wrong_host(self, scope: Scope) -> bool:
        """Whether hosts are named and this request is for none of them, or for two at once."""
        if self._hosts is None:
            return False
        hosts = [v.decode("latin-1").lower() for k, v in scope["headers"] if k == b"host"]
        if len(hosts) != 1:
            return True
        name = hosts[0].partition("]")[0] + "]" if hosts[0].startswith("[") else (
            hosts[0].partition(":")[0])  # fmt: skip
        return name not in self._hosts and not any(
            name.endswith(one[1:]) for one in self._hosts if one.startswith("*.")
        )

    def _most(self, scope: Scope) -> tuple[int, float]:
        """How many bytes this request's body may have, and how many seconds."""
        if _FILE_PATH.fullmatch(scope["path"]):
            return self._max_file, FILE_BODY_S
        return self._max_body, BODY_S

    def _with_headers(self, scope: Scope, given: Iterable[Any]) -> list[tuple[bytes, bytes]]:
        headers = [(bytes(k), bytes(v)) for k, v in given]
        names = {k.lower() for k, _ in headers}
        headers.append((b"request-id", scope["paydesk.request_id"].encode()))
        headers += [h for h in self._headers if h[0] not in names]
        headers += [h for h in scope.get("paydesk.limit_fields", ()) if h[0] not in names]
        is_page = any(k == b"content-type" and v.startswith(b"text/html") for k, v in headers)
        if b"content-security-policy" not in names:
            headers.append((b"content-security-policy", PAGE_POLICY if is_page else API_POLICY))
        if b"cache-control" not in names:
            headers.append((b"cache-control", b"no-store"))
        return headers

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("paydesk.route") or getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        metrics.REQUEST_S.labels(method, route, status).observe(seconds)
        telemetry.record(
            "http.server.request.duration", seconds, unit="s", http_request_method=method,
            http_route=route, http_response_status_code=status,
        )  # fmt: skip
        write = log.warning if status >= 500 else log.info
        write(
            "request", method=scope["method"], path=scope["path"][:512], status=status,
            ms=round(seconds * 1000, 2),
        )  # fmt: skip


class Gate:
    """Finds out who calls, and counts the request against his quota."""

    def __init__(self, app: ASGIApp, env: Env, gatekeeper: Gatekeeper, limiter: Limiter) -> None:
        self.app = app
        self._env = env
        self._gatekeeper = gatekeeper
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        try:
            # Who opens a WebSocket is found out by its route; here its address is counted.
            is_http = scope["type"] == "http"
            scope["paydesk.caller"] = await self._caller(scope) if is_http else None
            await self._count(scope, scope["method"] if is_http else "GET")
        except PaydeskError as exc:
            if scope["type"] == "http":
                await _answer(exc, scope, receive, send)
            else:
                await problems.deny(WebSocket(scope, receive, send), exc)
            return
        await self.app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Any:
        """The Principal, None, or the NotAuthenticated that a guarded route will raise."""
        values = [v for k, v in scope["headers"] if k == b"authorization"]
        if not values:
            return None
        try:
            if len(values) > 1:
                raise NotAuthenticated("Send one Authorization header.")
            return await self._gatekeeper.identify(values[0].decode("latin-1"))
        except NotAuthenticated as exc:
            return exc

    async def _count(self, scope: Scope, method: str) -> None:
        caller = scope["paydesk.caller"]
        who = None if isinstance(caller, NotAuthenticated) else caller
        address = (scope.get("client") or ("unknown",))[0]
        quotas = limits.quotas_for(self._env, who, address, scope["path"], method)
        if not quotas:
            return
        try:
            standings = await self._limiter.take(quotas)
        except PaydeskError:
            if method in READS:
                return  # Open for reads, closed for money.
            raise
        except Exception as exc:
            log.error("limits fail", exc_info=exc)
            if method in READS:
                return
            raise Unavailable("Requests cannot be counted right now.", retry_after_s=2) from exc
        scope["paydesk.limit_fields"] = limits.fields(standings)
        if (refused := limits.refusal(standings)) is not None:
            raise refused


def _wrong_host() -> PaydeskError:
    return MisdirectedRequest("The Host header names no service that runs here.")


async def _answer(error: PaydeskError, scope: Scope, receive: Receive, send: Send) -> None:
    page = problems.wants_page(scope)
    response = problems.problem(error, problems.request_id_of(scope), as_page=page)
    await response(scope, receive, send)


def _limited(receive: Receive, most: int, seconds: float) -> Receive:
    """Stops reading beyond the limit, whatever the Content-Length said, and when time is up."""
    total, is_whole = 0, False
    until = asyncio.get_running_loop().time() + seconds

    async def limited() -> Message:
        nonlocal total, is_whole
        if is_whole:  # What is still to come is the end of the connection.
            return await receive()
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            raise RequestTimeout(f"A body must be whole within {seconds:g} s.") from None
        is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        total += len(message.get("body", b""))
        if total > most:
            raise BodyTooLarge(f"A body may have {most} bytes.")
        return message

    return limited


def _above(length: bytes, most: int) -> bool:
    digits = length.lstrip(b"0")
    return len(digits) > 18 or int(digits or b"0") > most


def _names(scope: Scope, header: bytes) -> bool:
    return any(k == header for k, _ in scope["headers"])


def _hosts(setting: str) -> frozenset[str] | None:
    names = {n.strip().lower() for n in setting.split(",") if n.strip()}
    return None if not names or "*" in names else frozenset(names)
