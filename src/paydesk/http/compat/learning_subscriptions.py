"""Learning: a user's subscriptions: status, checkout, cancellation, upgrade and downgrade."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk import causes
from paydesk.env import Env
from paydesk.errors import InvalidRequest, NotPermitted
from paydesk.flows import access, invoices, subscription_changes, subscription_views, subscriptions
from paydesk.flows.invoice_views import InvoiceView
from paydesk.flows.subscription_views import SubscriptionView
from paydesk.flows.subscriptions import NewSubscription
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.compat.shapes import CamelIn, CamelOut, bare, owner, ref_of, user_of
from paydesk.http.fields import Code, Ref, Url, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.checkouts import started_by

learning_subscriptions = router("learning")

HOLDERS = ("customer", "admin", "service", "support")
#: In these what the plan opens is open.
ACTIVE = ("trialing", "active", "past_due")
#: This family's word for a state that it spells in its own way.
WORDS = {"canceled": "cancelled"}
#: Of an invoice: what was given up may still be paid.
INVOICE_WORDS = {"uncollectible": "open"}


class SubscriptionAsked(CamelIn):
    """A plan; what it costs the catalogue says. `trialDays` is not for users to say. `runner`:
    who bills it from then on, this desk or the provider (Stripe Billing)."""

    plan_id: Ref
    quantity: int = Field(default=1, ge=1, le=10**6)
    user_id: Ref | None = None
    promo_code: Code | None = None
    trial_days: int | None = Field(default=None, ge=0, le=730)
    runner: Literal["paydesk", "provider"] = "paydesk"
    success_url: Url | None = None
    cancel_url: Url | None = None


class CancelAsked(CamelIn):
    """At once, as the document has it, or when what is paid for is over."""

    at_period_end: bool = False
    reason: str | None = Field(default=None, min_length=1, max_length=255)


class ChangeAsked(CamelIn):
    """Another plan or other seats: now, at the period's end, or as the plan has it. Or
    `cancelAtPeriodEnd`, by which a cancellation is taken back too. `returnUrl`: where a bank's
    page leads back to."""

    plan_id: Ref | None = None
    quantity: int | None = Field(default=None, ge=1, le=10**6)
    at_period_end: bool | None = None
    cancel_at_period_end: bool | None = None
    return_url: Url | None = None


class SubscriptionRow(CamelOut):
    """A row of the document's table `subscriptions`. `amount` is of a period, before discounts."""

    id: str
    user_id: str
    plan_id: str
    plan_key: str
    plan_name: str
    status: str
    quantity: int
    amount: float
    currency: str
    interval: str
    interval_count: int
    current_period_start: str
    current_period_end: str
    trial_start: str | None
    trial_end: str | None
    cancel_at_period_end: bool
    cancelled_at: str | None
    ended_at: str | None
    next_plan: str | None
    stripe_subscription_id: str | None
    created_at: str
    updated_at: str


class StatusOut(CamelOut):
    """`status`: of the running subscription, or of the last one; `none` without any."""

    user_id: str
    has_active_subscription: bool
    status: str
    subscription: SubscriptionRow | None
    subscriptions: list[SubscriptionRow]


class SessionOut(CamelOut):
    """The page to pay on, or, before a trial, to save a card on. Null where none is needed."""

    session_id: str | None
    checkout_url: str | None
    subscription_id: str
    payment_id: str | None
    status: str
    amount: float
    currency: str
    trial_end: str | None
    expires_at: str | None


class CancelledOut(CamelOut):
    success: bool
    access_revoked: bool
    subscription: SubscriptionRow


class LineRow(CamelOut):
    kind: str
    description: str
    amount: float
    period_start: str | None
    period_end: str | None


class InvoiceRow(CamelOut):
    """A row of the document's table `invoices`, with its lines."""

    id: str
    invoice_number: str | None
    status: str
    amount: float
    amount_paid: float
    currency: str
    period_start: str | None
    period_end: str | None
    invoice_pdf_url: str | None
    lines: list[LineRow]


class ChangedOut(CamelOut):
    """`invoice`: what the change was billed with, where it was billed. Not a success while its
    payment is under way: where `requiresAction`, the bank asks its holder on `actionUrl`."""

    success: bool
    requires_action: bool
    action_url: str | None
    payment_id: str | None
    subscription: SubscriptionRow
    invoice: InvoiceRow | None


# Shapes ----------------------------------------------------------------------------------------


def status_word(one: SubscriptionView) -> str:
    return WORDS.get(one.state, one.state)


def subscription_row(one: SubscriptionView, user_id: str) -> dict[str, Any]:
    return {
        "id": bare(one.id),
        "userId": user_id,
        "planId": bare(one.plan_id),
        "planKey": one.plan_key,
        "planName": one.plan_name,
        "status": status_word(one),
        "quantity": one.quantity,
        "amount": fields.plain_number(one.amount),
        "currency": one.amount.currency.upper(),
        "interval": one.interval_unit,
        "intervalCount": one.interval_count,
        "currentPeriodStart": fields.instant(one.period_start),
        "currentPeriodEnd": fields.instant(one.period_end),
        "trialStart": fields.instant(one.trial_start),
        "trialEnd": fields.instant(one.trial_end),
        "cancelAtPeriodEnd": one.cancel_at is not None,
        "cancelledAt": fields.instant(one.canceled_at),
        "endedAt": fields.instant(one.ended_at),
        "nextPlan": (one.next or {}).get("plan"),
        "stripeSubscriptionId": one.provider_ref,
        "createdAt": fields.instant(one.created_at),
        "updatedAt": fields.instant(one.updated_at),
    }


def invoice_row(one: InvoiceView) -> dict[str, Any]:
    return {
        "id": bare(one.id),
        "invoiceNumber": one.number,
        "status": INVOICE_WORDS.get(one.status, one.status),
        "amount": fields.plain_number(one.total),
        "amountPaid": fields.plain_number(one.settled),
        "currency": one.currency.upper(),
        "periodStart": fields.instant(one.period_start),
        "periodEnd": fields.instant(one.period_end),
        "invoicePdfUrl": one.pdf_url,
        "lines": [
            {
                "kind": line.kind,
                "description": line.description,
                "amount": fields.plain_number(line.amount),
                "periodStart": fields.instant(line.period_start),
                "periodEnd": fields.instant(line.period_end),
            }
            for line in one.items
        ],
    }


# Routes ----------------------------------------------------------------------------------------


@learning_subscriptions.get(
    "/api/subscriptions/status/{user_id}", response_model=None,
    summary="How a user's subscription stands", responses={200: {"model": StatusOut}},
    **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def status(request: Request, user_id: str) -> Response:
    """From a cache that every change of the user's subscriptions drops."""
    env = env_of(request)
    customer_id = owners.owner(env, who_of(request), user_id)
    found = subscription_views.held(env, customer_id)
    name = user_of(env, customer_id)
    one = found[0] if found else None
    return reply({
        "userId": name,
        "hasActiveSubscription": any(each.state in ACTIVE for each in found),
        "status": status_word(one) if one else "none",
        "subscription": subscription_row(one, name) if one else None,
        "subscriptions": [subscription_row(each, name) for each in found if each.live],
    })  # fmt: skip


@learning_subscriptions.post(
    "/api/subscriptions/checkout-session", status_code=201, response_model=None,
    summary="Open a page to subscribe on", responses={201: {"model": SessionOut}},
    **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def checkout_session(request: Request, body: SubscriptionAsked) -> Response:
    """The subscription begins when its first period is paid for, or its trial begins. While one
    runs another is refused with 409 `subscription_already_active`."""
    return await at_provider(request, _checkout_session, request, body)


def _checkout_session(request: Request, body: SubscriptionAsked) -> Response:
    env, who = env_of(request), who_of(request)
    if who.is_customer and body.trial_days is not None:
        raise NotPermitted("A user does not say how long a trial is.", param="trialDays")
    customer_id = owner(env, who, body.user_id, create=True)
    attempt = attempt_of(request, who)
    wanted = NewSubscription(
        customer_id=customer_id, plan=ref_of(body.plan_id), quantity=body.quantity,
        promo=body.promo_code, trial_days=body.trial_days, is_hosted=True,
        runner=body.runner, success_url=body.success_url, cancel_url=body.cancel_url,
        **started_by(attempt),
    )  # fmt: skip

    def work() -> Response:
        return reply(_session(subscriptions.start(env, wanted)), 201)

    return once(env, attempt, customer_id, work)


def _session(made: SubscriptionView) -> dict[str, Any]:
    page, setup = made.checkout, made.setup
    due, ref, until = None, None, None
    if page is not None:
        due, ref, until = page.total, page.payment.session_ref, page.expires_at
    elif setup is not None:
        ref, until = setup.ref, setup.expires_at
    elif made.page_url is not None:
        due, ref = made.amount if made.trial_end is None else None, made.page_ref
    return {
        "sessionId": ref,
        "checkoutUrl": made.url,
        "subscriptionId": bare(made.id),
        "paymentId": bare(page.payment.id) if page is not None else None,
        "status": status_word(made),
        "amount": fields.plain_number(due) if due is not None else fields.ZERO,
        "currency": made.price.currency.upper(),
        "trialEnd": fields.instant(made.trial_end),
        "expiresAt": fields.instant(until),
    }


@learning_subscriptions.post(
    "/api/subscriptions/{subscription_id}/cancel", response_model=None,
    summary="Cancel a user's subscription", responses={200: {"model": CancelledOut}},
    **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def cancel(
    request: Request, subscription_id: str, body: CancelAsked | None = None
) -> Response:
    """At once, and what it opens is shut with it; or at the period's end. Safe to repeat."""
    return await at_provider(request, _cancel, request, subscription_id, body or CancelAsked())


def _cancel(request: Request, subscription_id: str, body: CancelAsked) -> Response:
    env, one = env_of(request), _found(request, subscription_id)
    done = subscription_changes.cancel(
        env, one.customer_id, one.id, at="period_end" if body.at_period_end else "now",
        reason=body.reason, by=causes.actor("desk"),
    )  # fmt: skip
    given = access.list_(env, one.customer_id, source_id=one.id)
    return reply({
        "success": True,
        "accessRevoked": not done.live and not any(grant.status == "active" for grant in given),
        "subscription": subscription_row(done, user_of(env, one.customer_id)),
    })  # fmt: skip


@learning_subscriptions.put(
    "/api/subscriptions/{subscription_id}", response_model=None,
    summary="Upgrade or downgrade a user's subscription",
    responses={200: {"model": ChangedOut}}, **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def change(request: Request, subscription_id: str, body: ChangeAsked) -> Response:
    """What is left of the running period is set against the new plan: the rest is charged at
    once, or stands to the user's credit. Where the charge fails, nothing changes. Where the bank
    asks its holder first the plan is the new one once that is done; naming the running plan takes
    the change back."""
    return await at_provider(request, _change, request, subscription_id, body)


def _change(request: Request, subscription_id: str, body: ChangeAsked) -> Response:
    env, who = env_of(request), who_of(request)
    one, attempt = _found(request, subscription_id), attempt_of(request, who)
    moves = body.plan_id is not None or body.quantity is not None
    if moves == (body.cancel_at_period_end is not None):
        raise InvalidRequest(
            "Name a planId or a quantity, or cancelAtPeriodEnd.", param="planId"
        )

    def work() -> Response:
        if not moves:
            return _answer(env, _end_or_not(env, one, bool(body.cancel_at_period_end)), None)
        when = {True: "period_end", False: "now", None: None}[body.at_period_end]
        plan = None if body.plan_id is None else ref_of(body.plan_id)
        done = subscription_changes.change(
            env, one.customer_id, one.id, plan=plan, quantity=body.quantity, at=when,
            request_key=attempt.key if attempt else None, return_url=body.return_url,
        )  # fmt: skip
        return _answer(env, done, one)

    return once(env, attempt, one.customer_id, work)


def _end_or_not(env: Env, one: SubscriptionView, ends: bool) -> SubscriptionView:
    if ends:
        return subscription_changes.cancel(env, one.customer_id, one.id, at="period_end")
    return subscription_changes.reactivate(env, one.customer_id, one.id)


def _answer(env: Env, done: SubscriptionView, before: SubscriptionView | None) -> Response:
    billed = None
    if before is not None and done.latest_invoice_id not in (None, before.latest_invoice_id):
        billed = invoices.get(env, done.customer_id, done.latest_invoice_id)
    waits = done.payment
    return reply({
        "success": waits is None,
        "requiresAction": done.action_url is not None,
        "actionUrl": done.action_url,
        "paymentId": bare(waits.id) if waits else None,
        "subscription": subscription_row(done, user_of(env, done.customer_id)),
        "invoice": invoice_row(billed) if billed else None,
    })  # fmt: skip


def _found(request: Request, subscription_id: str) -> SubscriptionView:
    env = env_of(request)
    return subscriptions.get(env, owners.only_own(env, who_of(request)), subscription_id)
