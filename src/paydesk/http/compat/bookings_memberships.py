"""Bookings: a user's membership under /payment/memberships: current, subscribe, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk import causes, ids
from paydesk.env import Env
from paydesk.errors import NotFound, PaymentFailed
from paydesk.flows import invoices as invoice_flows
from paydesk.flows import memberships, payments, subscription_changes, subscription_views
from paydesk.flows import subscription_steps as steps
from paydesk.flows.payments import PaymentView
from paydesk.flows.subscription_views import SubscriptionView
from paydesk.flows.subscriptions import NewSubscription, start
from paydesk.http import fields
from paydesk.http.auth import STAFF
from paydesk.http.compat.bookings import UserId
from paydesk.http.compat.plans import membership
from paydesk.http.compat.shapes import CamelIn, CamelOut, bare, owner, user_of
from paydesk.http.fields import Code, Ref, Url, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.checkouts import started_by

bookings_memberships = router("bookings")

HOLDERS = ("customer", "admin", "service", "support")
#: This family's spelling; its words are in upper case.
WORDS = {"canceled": "CANCELLED"}


class Subscribe(CamelIn):
    """A saved method (`paymentMethodId`, or the default one) is charged; without any a page
    is opened. With `runner` provider its own page always is, and it bills from then on."""

    user_id: Ref | None = None
    promo_code: Code | None = None
    payment_method_id: Ref | None = None
    runner: Literal["paydesk", "provider"] = "paydesk"
    success_url: Url | None = None
    cancel_url: Url | None = None


class CancelMembership(CamelIn):
    """When what is paid for is over; with `atPeriodEnd` false at once."""

    user_id: Ref | None = None
    at_period_end: bool = True
    reason: str | None = Field(default=None, min_length=1, max_length=255)


class MembershipRow(CamelOut):
    """`creditsRemaining`: what is unspent of its monthly credits."""

    id: str
    user_id: str
    membership_id: str
    membership_key: str
    name: str
    status: str
    price: float
    currency: str
    interval: str
    interval_count: int
    monthly_credits: int
    credits_remaining: int
    current_period_start: str
    current_period_end: str
    trial_ends_at: str | None
    cancel_at_period_end: bool
    cancelled_at: str | None
    stripe_subscription_id: str | None
    created_at: str


class CurrentOut(CamelOut):
    membership: MembershipRow | None


class SubscribedOut(CamelOut):
    """`checkoutUrl`: the page to open, where there is one. `credits` were given at once."""

    membership: MembershipRow
    checkout_url: str | None
    session_id: str | None
    payment_id: str | None
    amount: float
    currency: str
    credits: int
    expires_at: str | None


class CancelledMembership(CamelOut):
    success: bool
    membership: MembershipRow


def membership_row(env: Env, one: SubscriptionView) -> dict[str, Any]:
    with env.db.read() as tx:
        sub = steps.read(tx, one.customer_id, one.id)
        told, left = steps.terms(tx, sub), memberships.credits_left(tx, sub)
    return {
        "id": bare(one.id),
        "userId": user_of(env, one.customer_id),
        "membershipId": bare(one.plan_id),
        "membershipKey": one.plan_key,
        "name": one.plan_name,
        "status": WORDS.get(one.state, one.state.upper()),
        "price": fields.plain_number(one.amount),
        "currency": one.amount.currency.upper(),
        "interval": one.interval_unit,
        "intervalCount": one.interval_count,
        "monthlyCredits": told.credits * one.quantity,
        "creditsRemaining": left,
        "currentPeriodStart": fields.instant(one.period_start),
        "currentPeriodEnd": fields.instant(one.period_end),
        "trialEndsAt": fields.instant(one.trial_end),
        "cancelAtPeriodEnd": one.cancel_at is not None,
        "cancelledAt": fields.instant(one.canceled_at),
        "stripeSubscriptionId": one.provider_ref,
        "createdAt": fields.instant(one.created_at),
    }


@bookings_memberships.get(
    "/payment/memberships/current", response_model=None, summary="A user's membership",
    responses={200: {"model": CurrentOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def current(request: Request, user_id: UserId = None) -> Response:
    """Null without a running one."""
    env = env_of(request)
    customer_id = owner(env, who_of(request), user_id)
    one = _running(subscription_views.held(env, customer_id))
    return reply({"membership": membership_row(env, one) if one else None})


@bookings_memberships.post(
    "/payment/memberships/{membership_id}/subscribe", response_model=None,
    summary="Subscribe to a membership", responses={200: {"model": SubscribedOut}},
    **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def subscribe(
    request: Request, membership_id: str, body: Subscribe | None = None
) -> Response:
    """One at a time: while one runs, or its first payment is under way, another is refused with
    409 and PAY004. A declined card is a 402 with PAY002."""
    return await at_provider(request, _subscribe, request, membership_id, body or Subscribe())


def _subscribe(request: Request, membership_id: str, body: Subscribe) -> Response:
    env, who = env_of(request), who_of(request)
    customer_id = owner(env, who, body.user_id, create=True)
    plan = membership(env, membership_id)
    attempt = attempt_of(request, who)
    wanted = NewSubscription(
        customer_id=customer_id, plan=plan.uuid, quantity=plan.terms.least_quantity,
        promo=body.promo_code, method=body.payment_method_id, runner=body.runner,
        success_url=body.success_url, cancel_url=body.cancel_url, **started_by(attempt),
    )  # fmt: skip

    def work() -> Response:
        return reply(_subscribed(env, start(env, wanted)))

    return once(env, attempt, customer_id, work)


def _subscribed(env: Env, made: SubscriptionView) -> dict[str, Any]:
    paid = made.checkout.payment if made.checkout else _charged(env, made)
    if paid is not None and paid.state == "failed":
        raise PaymentFailed(
            paid.error_message or "The charge failed.", provider_code=paid.error_code,
            payment_id=ids.show("payment", paid.id),
        )  # fmt: skip
    setup = made.setup
    ref, until = made.page_ref, None
    if paid is not None:
        ref, until = paid.session_ref, paid.expires_at
    elif setup is not None:
        ref, until = setup.ref, setup.expires_at
    row = membership_row(env, made)
    return {
        "membership": row,
        "checkoutUrl": made.url or (paid.action_url if paid is not None else None),
        "sessionId": ref,
        "paymentId": bare(paid.id) if paid is not None else None,
        "amount": fields.plain_number(paid.amount) if paid is not None else fields.ZERO,
        "currency": made.price.currency.upper(),
        "credits": row["creditsRemaining"],
        "expiresAt": fields.instant(until) if made.state == "incomplete" else None,
    }


def _charged(env: Env, made: SubscriptionView) -> PaymentView | None:
    """The payment that charged a saved method for it."""
    if made.latest_invoice_id is None:
        return None
    payment_id = invoice_flows.get(env, made.customer_id, made.latest_invoice_id).payment_id
    return payments.get(env, made.customer_id, payment_id) if payment_id else None


@bookings_memberships.post(
    "/payment/memberships/cancel", response_model=None, summary="Cancel a user's membership",
    responses={200: {"model": CancelledMembership}}, **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def cancel(request: Request, body: CancelMembership | None = None) -> Response:
    """404 without a running one. Credits that were given stay, as long as they last."""
    return await at_provider(request, _cancel, request, body or CancelMembership())


def _cancel(request: Request, body: CancelMembership) -> Response:
    env, who = env_of(request), who_of(request)
    customer_id = owner(env, who, body.user_id)
    attempt = attempt_of(request, who, moves_money=False)

    def work() -> Response:
        one = _running(subscription_views.list_(env, customer_id, limit=100))
        if one is None:
            raise NotFound("No membership is running.", param="membership")
        done = subscription_changes.cancel(
            env, customer_id, one.id, at="period_end" if body.at_period_end else "now",
            reason=body.reason, by=causes.actor("desk"),
        )  # fmt: skip
        return reply({"success": True, "membership": membership_row(env, done)})

    return once(env, attempt, customer_id, work)


def _running(found: Sequence[SubscriptionView]) -> SubscriptionView | None:
    return next((one for one in found if one.live and one.kind == "membership"), None)
