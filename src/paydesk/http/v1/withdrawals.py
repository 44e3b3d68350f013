"""v1: withdrawals: ask for one, decide, pay out, cancel."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import withdrawals
from paydesk.flows.withdrawals import Withdrawal
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import page_of
from paydesk.http.v1.wallet_models import DecisionIn, PaidIn, WithdrawalIn, WithdrawalOut
from paydesk.http.v1.wallets import owned, required

withdrawals_v1 = router("withdrawals")


def withdrawal_shape(one: Withdrawal, livemode: bool, *, for_staff: bool) -> dict[str, Any]:
    return {
        "id": ids.show("withdrawal", one.id),
        "object": "withdrawal",
        "livemode": livemode,
        "customer": ids.show("customer", one.customer_id),
        **fields.money(one.amount),
        "currency": one.amount.currency,
        "status": one.state,
        "destination": one.destination,
        "to": fields.shown("customer", one.to_id),
        "requested_by": one.requested_by if for_staff else None,
        "decided_by": one.decided_by if for_staff else None,
        "decided_at": fields.instant(one.decided_at),
        "note": one.decision_note,
        "reference": one.paid_reference,
        "paid_at": fields.instant(one.paid_at),
        "metadata": one.metadata,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


def _answer(request: Request, one: Withdrawal, status: int = 200) -> Response:
    for_staff = not who_of(request).is_customer
    live = env_of(request).settings.live
    return reply(withdrawal_shape(one, live, for_staff=for_staff), status)


@withdrawals_v1.post(
    "/v1/withdrawals", status_code=201, response_model=None, summary="Ask for a withdrawal",
    responses={201: {"model": WithdrawalOut}},
    **cell("customer", "admin", "service", owner="own"),
)  # fmt: skip
def request_withdrawal(request: Request, body: WithdrawalIn) -> Response:
    """Sets the money aside. Above a threshold another person decides."""
    env, who = env_of(request), who_of(request)
    customer_id = owners.owner(env, who, body.customer)
    money = required(request, body)
    attempt = attempt_of(request, who)

    def work() -> Response:
        one = withdrawals.request(
            env, customer_id, money, body.destination, by=who.caller, persons=who.persons,
            metadata=body.metadata,
            request_key=attempt.key if attempt else None,
            request_hash=attempt.digest if attempt else None,
        )  # fmt: skip
        return _answer(request, one, 201)

    return once(env, attempt, customer_id, work)


@withdrawals_v1.get(
    "/v1/withdrawals", response_model=None, summary="List withdrawals",
    responses={200: {"model": page_of(WithdrawalOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_withdrawals(
    request: Request,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    status: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first; staff who name no customer see everybody's."""
    env, who = env_of(request), who_of(request)
    scope = owners.scope_of(env, who, customer)
    after = None if starting_after is None else owned(request, "withdrawal", starting_after)
    with env.db.read() as tx:
        if after is not None:
            withdrawals.get(tx, *after)
        found = withdrawals.list_(
            tx, scope, state=status, limit=limit + 1, after=after[1] if after else None
        )
    live, for_staff = env.settings.live, not who.is_customer
    return reply(
        fields.page(found, limit, lambda one: withdrawal_shape(one, live, for_staff=for_staff))
    )


@withdrawals_v1.get(
    "/v1/withdrawals/{withdrawal}", response_model=None, summary="Get a withdrawal",
    responses={200: {"model": WithdrawalOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_withdrawal(request: Request, withdrawal: str) -> Response:
    with env_of(request).db.read() as tx:
        one = withdrawals.get(tx, *owned(request, "withdrawal", withdrawal))
    return _answer(request, one)


@withdrawals_v1.post(
    "/v1/withdrawals/{withdrawal}/decide", response_model=None, summary="Decide a withdrawal",
    responses={200: {"model": WithdrawalOut}}, **cell("admin", "finance"),
)  # fmt: skip
def decide(request: Request, withdrawal: str, body: DecisionIn) -> Response:
    """By somebody else than who asked for it; a rejected one's money is in the wallet again.

    The approval of a transfer to another customer moves the money, and it is paid.
    """
    customer_id, found = owned(request, "withdrawal", withdrawal)
    who = who_of(request)
    one = withdrawals.decide(
        env_of(request), customer_id, found, body.decision, by=who.caller, note=body.note,
        persons=who.persons,
    )  # fmt: skip
    return _answer(request, one)


@withdrawals_v1.post(
    "/v1/withdrawals/{withdrawal}/paid", response_model=None, summary="Say that it was paid out",
    responses={200: {"model": WithdrawalOut}}, **cell("admin", "finance"),
)  # fmt: skip
def paid(request: Request, withdrawal: str, body: PaidIn) -> Response:
    customer_id, found = owned(request, "withdrawal", withdrawal)
    one = withdrawals.mark_paid(
        env_of(request), customer_id, found, body.reference, by=who_of(request).caller
    )
    return _answer(request, one)


@withdrawals_v1.post(
    "/v1/withdrawals/{withdrawal}/cancel", response_model=None, summary="Cancel a withdrawal",
    responses={200: {"model": WithdrawalOut}},
    **cell("customer", "admin", "finance", "service", owner="own"),
)  # fmt: skip
def cancel(request: Request, withdrawal: str) -> Response:
    """One that is approved may be on its way already: only staff can cancel it."""
    who = who_of(request)
    customer_id, found = owned(request, "withdrawal", withdrawal)
    one = withdrawals.cancel(
        env_of(request), customer_id, found, by=who.caller,
        is_staff=who.role in ("admin", "finance"),
    )  # fmt: skip
    return _answer(request, one)
