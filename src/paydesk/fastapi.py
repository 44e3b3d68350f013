"""Paydesk inside an application of yours: one router with checkout, balance and webhooks.

    app.include_router(billing_router(pay, customer=customer_id), prefix="/billing")

It brings its own lifespan, which runs the worker: include it, never `mount()` it.

Routes of yours are gated by what customers bought:

    @app.get("/courses/{slug}", dependencies=[Depends(requires("course:{slug}"))])
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request, WebSocket
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from paydesk import ids
from paydesk.client import Paydesk
from paydesk.client_async import AsyncPaydesk
from paydesk.errors import AccessRequired, BodyTooLarge, NotFound, PaydeskError
from paydesk.flows import checkout as checkouts
from paydesk.flows import customers, inbox
from paydesk.flows.access import Access
from paydesk.http import bodies, live, problems
from paydesk.results import Session
from paydesk.rules import access as rules
from paydesk.worker import Worker

__all__ = ["billing_router", "requires"]


class CheckoutBody(BaseModel):
    """What a customer may say of a purchase; what it costs comes from the catalogue."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pack: str | None = Field(None, max_length=100)
    credits: int | None = Field(None, ge=1, le=2**53)
    item: str | None = Field(None, max_length=100)
    quantity: int = Field(1, ge=1, le=10**6)
    service: str | None = Field(None, max_length=100)
    promo: str | None = Field(None, max_length=64)
    email: str | None = Field(None, max_length=320)
    success_url: str | None = Field(None, max_length=2000)
    cancel_url: str | None = Field(None, max_length=2000)
    metadata: dict[str, str] | None = None


class CheckoutAnswer(BaseModel):
    """`url` is where to send the customer. Amounts are in minor units."""

    id: str
    url: str | None
    status: str
    payment: str
    payment_status: str
    amount: int
    amount_decimal: str
    currency: str
    expires_at: str | None

    @classmethod
    def of(cls, session: Session) -> CheckoutAnswer:
        until = session.expires_at
        return cls(
            id=session.id, url=session.url, status=session.status, payment=session.payment.id,
            payment_status=session.payment.status, amount=session.total.minor,
            amount_decimal=str(session.total.decimal), currency=session.total.currency,
            expires_at=until.isoformat().replace("+00:00", "Z") if until else None,
        )  # fmt: skip


class BalanceAnswer(BaseModel):
    """Whole credits that can be spent now."""

    balance: int
    by_kind: dict[str, int]
    next_expiry: str | None


def billing_router(
    pay: AsyncPaydesk | Paydesk,
    *,
    customer: Callable[..., Any],
    live_customer: Callable[..., Any] | None = None,
    worker: bool = True,
) -> APIRouter:
    """A router with POST /checkout, POST /checkout/{id}/verify, GET /balance,
    POST /webhooks/{provider} and WebSocket /live.

    `customer` is a dependency that answers who is asking: the application's own id of the
    signed-in user. `live_customer` is the same for the WebSocket, where `customer` needs a
    Request. `worker` False: sweeps run elsewhere (`paydesk worker`).
    """
    desk = pay if isinstance(pay, AsyncPaydesk) else AsyncPaydesk(paydesk=pay)
    held: dict[str, Any] = {}
    router = APIRouter(
        route_class=_ProblemRoute, lifespan=_lifespan(desk, held, worker, customer),
        tags=["billing"],
    )  # fmt: skip

    @router.post("/checkout", status_code=201, openapi_extra=_body_of(CheckoutBody))
    async def checkout(request: Request, who: str = Depends(customer)) -> CheckoutAnswer:
        body = await _read(request, desk)
        key = request.headers.get("idempotency-key", "").strip('"') or None
        told = body.model_dump(exclude_none=True)
        return CheckoutAnswer.of(await desk.checkout(who, key=key, **told))

    @router.post("/checkout/{session}/verify")
    async def verify(session: str, who: str = Depends(customer)) -> CheckoutAnswer:
        def work() -> Session:
            owner = customers.ensure(desk.env, who, create=False).uuid
            view = checkouts.verify(desk.env, session, owner, path="verify")
            return Session.of(view, is_served=bool(desk.env.settings.public_url))

        return CheckoutAnswer.of(await asyncio.to_thread(work))

    @router.get("/balance")
    async def balance(who: str = Depends(customer)) -> BalanceAnswer:
        found = await desk.credits.balance(who)
        until = found.next_expiry
        return BalanceAnswer(
            balance=int(found), by_kind=dict(found.by_kind),
            next_expiry=until.isoformat().replace("+00:00", "Z") if until else None,
        )  # fmt: skip

    @router.post("/webhooks/{provider}")
    async def webhook(provider: str, request: Request) -> dict[str, bool]:
        if provider not in desk.env.providers:
            raise NotFound("No such provider.", param="provider")
        body = await _body(request, desk)
        wake = partial(held["takers"].wake, provider) if "takers" in held else None
        (answer,) = await asyncio.to_thread(
            inbox.receive_many, desk.env, provider, [(body, dict(request.headers))], wake
        )
        if isinstance(answer, PaydeskError):
            raise answer
        return {"received": True}

    @router.websocket("/live")
    async def feed(socket: WebSocket, who: str = Depends(live_customer or customer)) -> None:
        feeds = held["feeds"]
        customer_id = await asyncio.to_thread(customers.resolve, desk.env, who)
        await socket.accept()
        with suppress(WebSocketDisconnect):
            await live.serve(socket, feeds.changes(customer_id, _still_in, None), customer_id)

    return router


class _ProblemRoute(APIRoute):
    """Expected refusals leave as RFC 9457 problems, whatever the application does with errors."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except PaydeskError as exc:
                return problems.problem(exc, ids.show("request", ids.new_catalog()))

        return answer


def requires(
    resource: str,
    *,
    pay: AsyncPaydesk | Paydesk | None = None,
    customer: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """A dependency that lets in who has access to `resource`; the route may take what it found.

    Names in braces are the path's: `course:{slug}`. Others get a 402 `access_required`, a problem
    with `reason` and `offer_url`. Where the application includes a `billing_router`, its desk and
    its `customer` are taken; else name both.
    """
    rules.parse(resource)

    async def gate(request: Request, who: Any = Depends(customer or _signed_in)) -> Access:
        desk = pay or getattr(request.app.state, "paydesk_desk", None)
        if desk is None:
            raise RuntimeError("Include a billing_router, or give requires() pay and customer.")
        wanted = resource.format_map(request.path_params)
        front = desk.paydesk if isinstance(desk, AsyncPaydesk) else desk
        found = await asyncio.to_thread(front.can, who, wanted)
        if found:
            return found
        # The answer is a problem whatever the route's class; an application's own handler wins.
        handlers = request.scope["starlette.exception_handlers"][0]
        handlers.setdefault(PaydeskError, _as_problem)
        raise AccessRequired(
            f"This needs access to {found.resource}.", resource=found.resource,
            reason=found.reason, offer_url=found.offer_url,
        )  # fmt: skip

    return gate


def _signed_in(request: Request) -> Any:
    """Who is asking, where the router's own dependency has taken this one's place."""
    raise RuntimeError("Include a billing_router, or give requires() pay and customer.")


async def _as_problem(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, PaydeskError)
    return problems.problem(exc, ids.show("request", ids.new_catalog()))


def _lifespan(
    desk: AsyncPaydesk, held: dict[str, Any], with_worker: bool,
    customer: Callable[..., Any],
) -> Any:  # fmt: skip
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        await desk.open()
        app.state.paydesk_desk = desk
        app.dependency_overrides.setdefault(_signed_in, customer)
        worker = Worker(desk.env) if with_worker else None
        held["feeds"] = feeds = live.Feeds(desk.env)
        held["takers"] = takers = inbox.Takers(desk.env)
        takers.start()
        if worker is not None:
            worker.start()
        try:
            yield
        finally:
            feeds.stop()
            if worker is not None:
                await asyncio.to_thread(worker.stop)
            await asyncio.to_thread(takers.close)
            await asyncio.to_thread(feeds.close)
            await desk.close()

    return lifespan


async def _still_in() -> None:
    """The application let the caller in when the socket was opened."""


async def _read(request: Request, desk: AsyncPaydesk) -> CheckoutBody:
    value = bodies.read(await _body(request, desk), request.headers.get("content-type"))
    try:
        return CheckoutBody.model_validate(value)
    except ValidationError as exc:
        found = [{**one, "loc": ("body", *one["loc"])} for one in exc.errors()]
        raise problems.from_validation(found) from None


async def _body(request: Request, desk: AsyncPaydesk) -> bytes:
    """The whole body, never more than the setting allows."""
    most, parts, size = desk.env.settings.max_body_bytes, [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise BodyTooLarge(f"The body may have {most} bytes.")
        parts.append(part)
    return b"".join(parts)


def _body_of(model: type[BaseModel]) -> dict[str, Any]:
    schema = {"schema": model.model_json_schema()}
    return {"requestBody": {"required": True, "content": {"application/json": schema}}}
