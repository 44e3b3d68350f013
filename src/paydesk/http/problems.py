"""Errors as answers: RFC 9457 problem documents, and an HTML page of the same for browsers."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.websockets import WebSocket, WebSocketDisconnect

from paydesk.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotAuthenticated,
    NotFound,
    PaydeskError,
    RateLimited,
    Unavailable,
)
from paydesk.http.bodies import pointer
from paydesk.http.logs import hide

PROBLEM_JSON = "application/problem+json"
#: draft-ietf-httpapi-ratelimit-headers: the problem type of a refused quota.
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
PAGE_PREFIXES = ("/checkout", "/portal", "/dashboard", "/dev", "/docs")

#: The shape of every refusal, for the OpenAPI document.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `code` is stable; further members depend on the code.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "Address of the error's page."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "legacy_code": {"type": "string", "description": "PAY001 to PAY007."},
        "param": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}

_encode = msgspec.json.Encoder(enc_hook=str).encode

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><meta name="robots" content="noindex"></head>
<body><main><h1>{title}</h1><p>{detail}</p>
<p><small>Code <code>{code}</code> · request <code>{request_id}</code></small></p>
<p><a href="{type}">What this means</a></p></main></body></html>
"""


def problem(error: PaydeskError, request_id: str, *, as_page: bool = False) -> Response:
    """The answer for an expected refusal."""
    body = error.to_problem()
    body["detail"] = hide(body["detail"])  # It may quote what was asked for.
    if isinstance(error, RateLimited) and "violated-policies" in body:
        body["type"] = QUOTA_EXCEEDED
    body["request_id"] = request_id
    headers = _headers_of(error)
    if as_page:
        shown = {k: html.escape(str(body[k])) for k in ("title", "detail", "code", "type")}
        page = _PAGE.format(**shown, request_id=html.escape(request_id))
        return Response(page, error.http_status, headers, media_type="text/html")
    return Response(_encode(body), error.http_status, headers, media_type=PROBLEM_JSON)


def answer(request: Request, error: PaydeskError) -> Response:
    """`problem` for this request: an HTML page where a browser asked for a page."""
    return problem(error, request_id_of(request.scope), as_page=wants_page(request.scope))


async def deny(socket: WebSocket, error: PaydeskError) -> None:
    """Refuse a WebSocket's handshake with the problem, where the server can say more than no."""
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.send_denial_response(problem(error, request_id_of(socket.scope)))


def request_id_of(scope: Mapping[str, Any]) -> str:
    return scope.get("paydesk.request_id", "")


def wants_page(scope: Mapping[str, Any]) -> bool:
    """A page of ours, asked for by something that prefers HTML to JSON."""
    path = scope["path"]
    if path != "/" and not path.startswith(PAGE_PREFIXES):
        return False
    accept = next((v for k, v in scope["headers"] if k == b"accept"), b"").decode("latin-1")
    html_at, json_at = accept.find("text/html"), accept.find("json")
    return html_at >= 0 and (json_at < 0 or html_at < json_at)


def from_validation(errors: Sequence[Any]) -> InvalidRequest:
    """InvalidRequest from pydantic's errors: one entry for each place, as JSON pointers.

    A query or path parameter is pointed at by `/name` and named in `param`.
    """
    found, param = [], None
    for error in errors[:50]:
        where, *path = error["loc"]
        named = where in ("query", "path", "header")
        place = [p for p in path if not _is_branch(p)]
        entry = {"pointer": pointer(tuple(place)), "detail": _sentence(error)}
        if entry not in found:
            found.append(entry)
        if param is None and place:
            param = str(place[0] if named else place[-1])[:64]
    detail = found[0]["detail"] if found else "The request is not valid."
    return InvalidRequest(detail, param=param, errors=found)


def _is_branch(part: Any) -> bool:
    """Whether a part of pydantic's location names a branch of a union, not a member."""
    return isinstance(part, str) and ("[" in part and "]" in part and "created_at" not in part)


def _sentence(error: Mapping[str, Any]) -> str:
    kind, text = error.get("type", ""), str(error.get("msg", "not valid"))
    if kind == "extra_forbidden":
        return "This member is not known here."
    if kind == "missing":
        return "This member is required."
    text = text.removeprefix("Value error, ")
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _headers_of(error: PaydeskError) -> dict[str, str]:
    headers: dict[str, str] = {"Cache-Control": "no-store"}
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="paydesk"'
    after = error.extra.get("retry_after_s")
    if after is not None or isinstance(error, RateLimited | Unavailable):
        headers["Retry-After"] = str(max(1, int(after or 1)))
    if allow := error.extra.get("allow"):
        headers["Allow"] = str(allow)
    return headers


def install(app: FastAPI) -> None:
    """Every refusal of this application becomes a problem document."""
    app.add_exception_handler(PaydeskError, _on_expected)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)


async def _on_expected(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, PaydeskError)
    return answer(request, exc)


async def _on_validation(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    return answer(request, from_validation(exc.errors()))


async def _on_http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    if exc.status_code == 404:
        error: PaydeskError = NotFound("Nothing is at this address.")
        if _is_lost_browser(request):
            from paydesk.pages.routing import problem

            return problem(request, error)
    elif exc.status_code == 405:
        allow = _allowed(request)
        error = MethodNotAllowed(f"This address takes {allow or 'other methods'}.", allow=allow)
    elif exc.status_code < 500:
        error = InvalidRequest(str(exc.detail))
    else:
        error = InternalError()
    return answer(request, error)


def _is_lost_browser(request: Request) -> bool:
    """Whether a person looks for a page; programs, and whoever tries the API, get the document."""
    wanted = request.headers.get("accept", "").partition(",")[0].strip()
    is_api = request.url.path.startswith(("/v1/", "/api/", "/payment/"))
    return request.method == "GET" and wanted == "text/html" and not is_api


def _allowed(request: Request) -> str:
    """Every method that this address takes, by whichever of its routes; one that is written out
    counts before one with a parameter that it happens to fit."""
    plain: set[str] = set()
    fitting: set[str] = set()
    for route in request.app.router.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            named = fitting if "{" in getattr(route, "path", "") else plain
            named.update(getattr(route, "methods", None) or ())
    return ", ".join(sorted(plain or fitting))
