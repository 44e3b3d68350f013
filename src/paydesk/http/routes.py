"""The route of this service: declared access, strict bodies, known parameters, threads for work."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from paydesk import causes
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import risk
from paydesk.http import auth, bodies
from paydesk.http.auth import Principal

if TYPE_CHECKING:
    from paydesk.env import Env

T = TypeVar("T")

#: Whose thing a route is about. `own`: a customer reaches only his own; another's answers as a
#: missing one. `any`: nothing of a customer's.
OWNERS = ("own", "any")
PUBLIC = "public"


def cell(*roles: str, owner: str = "any") -> dict[str, Any]:
    """The access cell of a route: which roles may call it, and about whose things.

    Without it a route cannot be made. `cell("public")` needs no credentials.
    """
    known = {*auth.ROLES, PUBLIC}
    if not roles or not known.issuperset(roles) or owner not in OWNERS:
        raise ValueError(f"no such access cell: {roles}, {owner}")
    extra: dict[str, Any] = {"x-access": {"roles": sorted(roles), "owner": owner}}
    if PUBLIC in roles:
        extra["security"] = []
    return {"openapi_extra": extra}


class Route(APIRoute):
    """A route that knows who may call it, reads JSON strictly and refuses unknown parameters."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()
        access = (self.openapi_extra or {}).get("x-access")
        if access is None:
            raise TypeError(f"{self.path} declares no access cell")
        roles = frozenset(access["roles"])
        known = {str(p.alias) for p in self.dependant.query_params}
        has_body = self.body_field is not None

        async def handler(request: Request) -> Response:
            enter(request.scope, roles, self.path)
            check_parameters(request, known)
            if has_body:
                raw = await request.body()
                if raw:
                    request._json = bodies.read(raw, request.headers.get("content-type"))
            return await inner(request)

        return handler


def enter(scope: Any, roles: frozenset[str], path: str) -> None:
    """Let the caller in, or raise; remember him and the route's template in the scope."""
    scope["paydesk.route"] = path
    if PUBLIC in roles:
        causes.enter(PUBLIC, "http", scope.get("paydesk.request_id"))
    else:
        who = scope["paydesk.who"] = auth.admit(scope.get("paydesk.caller"), roles)
        causes.enter(who.caller, "http", scope.get("paydesk.request_id"))
        risk.origin.set(_origin(scope, who))


def _origin(scope: Any, who: Principal) -> risk.Origin | None:
    """A customer's own address, country and e-mail; a server's say nothing of its customers."""
    if not who.is_customer:
        return None
    name = scope["app"].state.env.settings.country_header.lower().encode()
    found = (v for k, v in scope["headers"] if k == name) if name else iter(())
    country = next(found, b"").decode("latin-1")[:8] or None
    return risk.Origin((scope.get("client") or (None,))[0], country, who.email)


def check_parameters(request: Request, known: set[str]) -> None:
    """Refuse parameters that are not known, and texts in the address that cannot be stored."""
    for name, value in request.query_params.multi_items():
        if name not in known:
            detail = f"{name[:64]!r} is no parameter of this address."
            raise InvalidRequest(
                detail, param=name[:64], errors=[{"pointer": f"/{name[:64]}", "detail": detail}]
            )
        bodies.check_text(value, (name,), is_id=True)
        if len(value) > 512:
            raise InvalidRequest("The parameter is longer than 512 characters.", param=name)
    for name, value in request.path_params.items():
        if isinstance(value, str) and ("\x00" in value or len(value) > 512):
            raise NotFound("No such object.", param=name)


def router(tag: str) -> APIRouter:
    """A router whose routes follow the rules above."""
    return APIRouter(route_class=Route, tags=[tag])


def who_of(request: Request) -> Principal:
    return request.scope["paydesk.who"]


def env_of(request: Request) -> Env:
    return request.app.state.env


async def in_thread(request: Request, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run work that may wait for the database."""
    return await anyio.to_thread.run_sync(
        partial(work, *args, **kwargs), limiter=request.app.state.threads
    )


async def at_provider(request: Request, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run work that may call a provider: with threads of its own, so that a slow provider takes
    none of those that everything else needs."""
    return await anyio.to_thread.run_sync(
        partial(work, *args, **kwargs), limiter=request.app.state.provider_threads
    )
