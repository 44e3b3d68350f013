"""v1: credits: history, batches, grants, refunds of spends, transfers. Spending is in http/hot."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import NotFound, TransferNotAllowed
from paydesk.flows import credits, customers, heads
from paydesk.flows.credits import BatchView, Line
from paydesk.http import fields, lines, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.idempotency import Attempt, attempt_of, once
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import (
    BatchOut,
    CreditRefundIn,
    GrantIn,
    LineOfHistory,
    MoveOut,
    TransferIn,
    page_of,
)

credits_v1 = router("credits")

Whose = Annotated[str | None, Query(max_length=255)]


def line_shape(one: Line, livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.show("transfer", one.id),
        "object": "credit_line",
        "livemode": livemode,
        "type": one.type,
        "credits": one.amount,
        "balance_after": one.balance_after,
        "reason": one.reason,
        "reference": one.reference,
        "kind": one.kind,
        "batches": [ids.show("batch", batch) for batch in one.batch_ids],
        "expires_at": fields.instant(one.expires_at),
        "payment": fields.shown("payment", one.payment_id),
        "created_at": fields.instant(one.at),
    }


def batch_shape(one: BatchView, livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.show("batch", one.id),
        "object": "credit_batch",
        "livemode": livemode,
        "kind": one.kind,
        "granted": one.granted,
        "remaining": one.remaining,
        "expires_at": fields.instant(one.expires_at),
        "payment": fields.shown("payment", one.payment_id),
        "created_at": fields.instant(one.granted_at),
    }


@credits_v1.get(
    "/v1/credits/history", response_model=None, summary="What changed a balance",
    responses={200: {"model": page_of(LineOfHistory)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def history(
    request: Request,
    customer: Whose = None,
    type: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first: purchases, usage, refunds, transfers, expiry, grants."""
    env = env_of(request)
    customer_id = owners.owner(env, who_of(request), customer)
    with env.db.read() as tx:
        before = None if starting_after is None else lines.seq_of(tx, customer_id, starting_after)
        found = credits.history(tx, customer_id, limit=limit + 1, before_seq=before, kind=type)
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: line_shape(one, live)))


@credits_v1.get(
    "/v1/credits/batches", response_model=None, summary="Batches in order of taking",
    responses={200: {"model": page_of(BatchOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def batches(request: Request, customer: Whose = None, include_empty: bool = False) -> Response:
    """At most 200; those that can be spent, or with `include_empty` all."""
    env = env_of(request)
    customer_id = owners.owner(env, who_of(request), customer)
    with env.db.read() as tx:
        found = credits.batches(tx, customer_id, env.now(), limit=200, include_empty=include_empty)
    live = env.settings.live
    return reply(fields.page(found, 200, lambda one: batch_shape(one, live)))


@credits_v1.post(
    "/v1/credits/grant", status_code=201, response_model=None, summary="Give credits",
    responses={201: {"model": MoveOut}}, **cell("admin", "service"),
)  # fmt: skip
def grant(request: Request, body: GrantIn) -> Response:
    """By hand or by the application. What the customer owes is repaid first."""
    env, who = env_of(request), who_of(request)
    customer_id = owners.owner(env, who, body.customer, create=True)
    attempt = attempt_of(request, who)

    def work() -> Response:
        done = credits.grant_now(
            env, customer_id, body.credits, kind=body.kind, expires_at=body.expires_at,
            note=body.reason, actor=who.caller, **keyed(attempt),
        )  # fmt: skip
        shape = {
            **_moved(request, "grant", done.transfer_id, customer_id, done.amount, done.balance),
            "transaction": ids.show("transfer", done.txn_id),
            "batch": ids.show("batch", done.batch_id),
            "over_limit": done.over_limit,
        }
        return reply(shape, 201)

    return once(env, attempt, customer_id, work)


@credits_v1.post(
    "/v1/credits/refund", response_model=None, summary="Give a spend back",
    responses={200: {"model": MoveOut}}, **cell("admin", "service", "support"),
)  # fmt: skip
def refund(request: Request, body: CreditRefundIn) -> Response:
    """To the very batches it came from, with their own expiry; wholly, or in part.

    Only the application or staff may: customers who could would use goods for nothing.
    """
    env, who = env_of(request), who_of(request)
    customer_id = owners.owner(env, who, body.customer)
    attempt = attempt_of(request, who)

    def work() -> Response:
        done = credits.refund_spend_now(
            env, customer_id, ids.parse("transfer", body.spend), body.credits, **keyed(attempt)
        )
        shape = _moved(
            request, "credit_refund", done.transfer_id, customer_id, done.amount, done.balance
        )
        shape["transaction"] = ids.show("transfer", done.txn_id)
        shape["spend"] = ids.show("transfer", done.spend_id)
        return reply(shape)

    return once(env, attempt, customer_id, work)


@credits_v1.post(
    "/v1/credits/transfer", response_model=None, summary="Move credits to another customer",
    responses={200: {"model": MoveOut}},
    **cell("customer", "admin", "service", owner="own"),
)  # fmt: skip
def transfer(request: Request, body: TransferIn) -> Response:
    """As far as the policy allows; batches keep their kind and expiry."""
    env, who = env_of(request), who_of(request)
    customer_id = owners.owner(env, who, body.customer)
    attempt = attempt_of(request, who)

    def work() -> Response:
        target = recipient(request, body.to)
        done = credits.transfer_now(env, customer_id, target, body.credits, **keyed(attempt))
        shape = _moved(
            request, "credit_transfer", done.transfer_id, customer_id, done.amount, done.balance
        )
        shape["transaction"] = ids.show("transfer", done.txn_id)
        shape["to"] = ids.show("customer", target)
        return reply(shape)

    return once(env, attempt, customer_id, work)


def recipient(request: Request, ref: str, what: str = "Credits") -> UUID:
    """Who gets the credits, or `what` moves. Raises NotFound: nobody is made by a transfer.

    A customer hears the same of a stranger as of nobody (TransferNotAllowed), so that user ids
    cannot be tried out.
    """
    try:
        return customers.ensure(env_of(request), ref, create=False).uuid
    except NotFound:
        if who_of(request).is_customer:
            raise TransferNotAllowed(
                f"{what} cannot be moved between these customers."
            ) from None
        raise


def keyed(attempt: Attempt | None) -> dict[str, Any]:
    """The attempt as the flows of the ledger take it."""
    if attempt is None:
        return {}
    return {"request_key": attempt.key, "request_hash": attempt.hash}


def _moved(
    request: Request, kind: str, transfer_id: UUID, customer_id: UUID, amount: int, balance: int
) -> dict[str, Any]:
    env = env_of(request)
    return {
        "id": ids.show("transfer", transfer_id),
        "object": kind,
        "livemode": env.settings.live,
        "customer": ids.show("customer", customer_id),
        "credits": amount,
        "balance": balance,
        "created_at": fields.instant(heads.now(env, customer_id)),
    }
