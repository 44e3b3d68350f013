"""Routes of pages: expected refusals become pages, and a missing session leads to the sign-in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute

from paydesk import causes
from paydesk.errors import InvalidRequest, PaydeskError
from paydesk.pages import look, reader
from paydesk.pages.portal_words import ENGLISH
from paydesk.pages.session import SignInNeeded


class PageRoute(APIRoute):
    """A route that answers people: every PaydeskError is a page with its code and request id."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            request.scope["paydesk.route"] = self.path
            # Whoever signs in is named instead; a payer has nothing but the link.
            causes.enter("visitor", "page", request.scope.get("paydesk.request_id"))
            try:
                return await inner(request)
            except SignInNeeded:
                place = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return look.go(f"/dashboard/sign-in?next={quote(place, safe='/')}")
            except RequestValidationError as exc:
                first = exc.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                return problem(request, InvalidRequest(f"{where}: {first['msg']}."))
            except PaydeskError as exc:
                return problem(request, exc)

        return handler


#: Where customers look, in their own language; people of the business read English.
_CUSTOMERS = ("/portal", "/checkout", "/invoice")


def problem(request: Request, error: PaydeskError) -> Response:
    """The HTML twin of a problem document: what went wrong, its code and the request's number."""
    is_theirs = request.url.path.startswith(_CUSTOMERS)
    t = reader.tongue(request) if is_theirs else ENGLISH
    title, text = "Not found" if error.code == "not_found" else error.title, error.detail
    if t.locale != "en":  # The precise words are English; the code leads to them.
        key = f"wrong_{error.code}" if t.has(f"wrong_{error.code}") else "wrong_other"
        title, text = t(key), t(f"{key}_text")
    return look.page(
        request, "problem.html", status=error.http_status, problem=error, title=title, text=text,
        t=t, lang=t.locale, request_id=request.scope.get("paydesk.request_id", ""),
    )  # fmt: skip


def new_router() -> APIRouter:
    """A router of pages: none of them stands in the OpenAPI document."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)
