"""v1: subscriptions: begun, looked at, changed, paused, canceled; why a line is as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import causes, ids
from paydesk.errors import NotPermitted
from paydesk.flows import (
    subscription_changes,
    subscription_offers,
    subscription_pauses,
    subscription_pending,
    subscriptions,
)
from paydesk.flows.subscription_charges import ChangePreview
from paydesk.flows.subscription_first import FirstInvoice
from paydesk.flows.subscription_views import SubscriptionView
from paydesk.flows.subscriptions import NewSubscription
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.checkouts import checkout_shape, started_by
from paydesk.http.v1.models import page_of
from paydesk.http.v1.payment_methods import setup_shape
from paydesk.http.v1.payments import payment_shape
from paydesk.http.v1.subscription_models import (
    CancelIn,
    ChangeIn,
    ChangePreviewIn,
    ChangePreviewOut,
    PauseIn,
    SubscriptionIn,
    SubscriptionMethodIn,
    SubscriptionOut,
    SubscriptionPreviewIn,
    SubscriptionPreviewOut,
    WhyOut,
)
from paydesk.rules.money import Money

subscriptions_v1 = router("subscriptions")

HOLDERS = ("customer", "admin", "service", "support")


def subscription_shape(one: SubscriptionView, live: bool) -> dict[str, Any]:
    waiting = {"plan": one.next["plan"], "quantity": one.next["quantity"]} if one.next else None
    return {
        "id": ids.show("subscription", one.id),
        "object": "subscription",
        "livemode": live,
        "customer": ids.show("customer", one.customer_id),
        "status": one.state,
        "plan": ids.show("plan", one.plan_id),
        "plan_key": one.plan_key,
        "plan_name": one.plan_name,
        "plan_version": one.plan_version,
        "family": one.family,
        "kind": one.kind,
        "runner": one.runner,
        "quantity": one.quantity,
        "currency": one.price.currency,
        **fields.money(one.price, "unit_amount"),
        **fields.money(one.amount),
        "interval": one.interval_unit,
        "interval_count": one.interval_count,
        "period": one.period,
        "current_period_start": fields.instant(one.period_start),
        "current_period_end": fields.instant(one.period_end),
        "zone": one.zone,
        "trial_start": fields.instant(one.trial_start),
        "trial_end": fields.instant(one.trial_end),
        "cancel_at": fields.instant(one.cancel_at),
        "canceled_at": fields.instant(one.canceled_at),
        "cancel_reason": one.cancel_reason,
        "ended_at": fields.instant(one.ended_at),
        "end_reason": one.end_reason,
        "paused_at": fields.instant(one.paused_at),
        "resume_at": fields.instant(one.resume_at),
        "next": waiting,
        "promo": (one.discount or {}).get("code"),
        "payment_method": fields.shown("method", one.method_id),
        "provider": one.provider,
        "latest_invoice": fields.shown("invoice", one.latest_invoice_id),
        "url": one.url,
        "checkout": checkout_shape(one.checkout) if one.checkout else None,
        "setup": setup_shape(one.setup, live) if one.setup else None,
        "payment": payment_shape(one.payment) if one.payment else None,
        "metadata": one.metadata,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


def preview_shape(one: ChangePreview, live: bool) -> dict[str, Any]:
    return {
        "object": "subscription_change_preview",
        "livemode": live,
        "subscription": ids.show("subscription", one.subscription_id),
        "plan": one.plan,
        "quantity": one.quantity,
        "at": one.when,
        "currency": one.total.currency,
        "lines": [
            _line(i.kind, i.description, i.amount, i.period, i.why) for i in one.lines
        ],
        **fields.money(one.total, "total"),
        **fields.money(one.credit, "credit"),
        **fields.money(one.due_now, "due_now"),
        "next_at": fields.instant(one.next_at),
        **fields.money(one.next_amount, "next_amount"),
        "credits_back": one.credits_back,
        "credits_given": one.credits_given,
        "token": one.token,
    }


def first_shape(one: FirstInvoice, live: bool) -> dict[str, Any]:
    currency = one.total.currency
    return {
        "object": "subscription_preview",
        "livemode": live,
        "customer": ids.show("customer", one.customer_id),
        "plan": one.plan,
        "quantity": one.quantity,
        "way": one.way,
        "currency": currency,
        "lines": [
            _line(i.kind, i.description, Money(i.amount_minor, currency, minor=True), i.period,
                  i.why)
            for i in one.lines
        ],
        **fields.money(one.total, "total"),
        **fields.money(one.from_balance, "from_balance"),
        **fields.money(one.due, "due"),
        **fields.money(one.due_now, "due_now"),
        "first_at": fields.instant(one.at),
        "period_start": fields.instant(one.period[0]),
        "period_end": fields.instant(one.period[1]),
        "trial_days": one.trial_days,
        "trial_end": fields.instant(one.at if one.trial_days else None),
        "promo": (one.code or {}).get("code"),
        "next_at": fields.instant(one.next_at),
        **fields.money(one.next_amount, "next_amount"),
        **fields.money(one.next_total, "next_total"),
        "token": one.token,
    }  # fmt: skip


def _line(
    kind: str, description: str, amount: Money, period: tuple[datetime, datetime] | None,
    why: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """A line of an invoice that would be written."""
    return {
        "kind": kind,
        "description": description,
        **fields.money(amount),
        "period_start": fields.instant(period[0] if period else None),
        "period_end": fields.instant(period[1] if period else None),
        "why": dict(why),
    }


@subscriptions_v1.post(
    "/v1/subscriptions/preview", response_model=None, summary="What subscribing would cost",
    responses={200: {"model": SubscriptionPreviewOut}}, **cell(*HOLDERS, owner="own"),
)  # fmt: skip
def preview_subscription(request: Request, body: SubscriptionPreviewIn) -> Response:
    """Nothing is written or reserved. The same reckoning as the beginning itself, which takes the
    `token` as `expect`."""
    env = env_of(request)
    found = subscription_offers.preview_of(env, NewSubscription(**_wanted(request, body)))
    return reply(first_shape(found, env.settings.live))


@subscriptions_v1.post(
    "/v1/subscriptions", status_code=201, response_model=None, summary="Subscribe to a plan",
    responses={201: {"model": SubscriptionOut}}, **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def start_subscription(request: Request, body: SubscriptionIn) -> Response:
    """A saved method is charged at once; else the answer has the page (`url`). With `runner`
    "provider" the provider bills it, begun on its page. One of a family runs at a time: another is
    refused with 409 `subscription_already_active` (PAY004). With `expect`, 409 `preview_outdated`
    where the figures have changed."""
    return await at_provider(request, _start, request, body)


def _start(request: Request, body: SubscriptionIn) -> Response:
    env, who = env_of(request), who_of(request)
    told = _wanted(request, body)
    wanted = NewSubscription(
        **told, success_url=body.success_url, cancel_url=body.cancel_url, metadata=body.metadata,
        expect=body.expect, **started_by(attempt_of(request, who)),
    )
    # Not kept as an answer: a setup's client secret is stored nowhere. The key is its own.
    shown = subscription_shape(subscriptions.start(env, wanted), env.settings.live)
    return reply(shown, 201, {"Location": f"/v1/subscriptions/{shown['id']}"})


def _wanted(request: Request, body: SubscriptionPreviewIn) -> dict[str, Any]:
    """What is subscribed to, and for whom."""
    env, who = env_of(request), who_of(request)
    if who.is_customer and body.trial_days is not None:
        raise NotPermitted("A customer does not say how long a trial is.", param="trial_days")
    return {
        "customer_id": owners.owner(env, who, body.customer, create=True), "plan": body.plan,
        "quantity": body.quantity, "currency": body.currency, "promo": body.promo,
        "trial_days": body.trial_days, "method": body.payment_method, "is_hosted": body.hosted,
        "provider": body.provider, "runner": body.runner, "zone": body.zone,
    }  # fmt: skip


@subscriptions_v1.get(
    "/v1/subscriptions", response_model=None, summary="List subscriptions",
    responses={200: {"model": page_of(SubscriptionOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_subscriptions(
    request: Request,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    status: Annotated[str | None, Query(max_length=40)] = None,
    plan: Annotated[str | None, Query(max_length=100)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first. `plan`: its key or id."""
    env, who = env_of(request), who_of(request)
    found = subscriptions.list_(
        env, owners.scope_of(env, who, customer), state=status, plan=plan, limit=limit + 1,
        after=None if starting_after is None else ids.parse("subscription", starting_after),
    )  # fmt: skip
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: subscription_shape(one, live)))


@subscriptions_v1.get(
    "/v1/subscriptions/{subscription}", response_model=None, summary="Get a subscription",
    responses={200: {"model": SubscriptionOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_subscription(request: Request, subscription: str) -> Response:
    env = env_of(request)
    return reply(subscription_shape(_read(request, subscription), env.settings.live))


@subscriptions_v1.post(
    "/v1/subscriptions/{subscription}/preview", response_model=None,
    summary="What a change would cost", responses={200: {"model": ChangePreviewOut}},
    **cell(*HOLDERS, owner="own"),
)  # fmt: skip
def preview_change(request: Request, subscription: str, body: ChangePreviewIn) -> Response:
    """Nothing changes. The same reckoning as the change itself."""
    env, one = env_of(request), _read(request, subscription)
    found = subscription_changes.preview(
        env, one.customer_id, one.id, plan=body.plan, quantity=body.quantity, at=body.at
    )
    return reply(preview_shape(found, env.settings.live))


@subscriptions_v1.post(
    "/v1/subscriptions/{subscription}/change", response_model=None,
    summary="Change plan or seats", responses={200: {"model": SubscriptionOut}},
    **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def change_subscription(request: Request, subscription: str, body: ChangeIn) -> Response:
    """What it costs is charged at once; where that fails nothing changes. Where a bank asks its
    holder first, `next` has the change and `payment` its page (`action_url`). With `expect`, 409
    `preview_outdated` where the figures have changed."""
    return await at_provider(request, _change, request, subscription, body)


def _change(request: Request, subscription: str, body: ChangeIn) -> Response:
    env, who = env_of(request), who_of(request)
    one, attempt = _read(request, subscription), attempt_of(request, who)

    def work() -> Response:
        done = subscription_changes.change(
            env, one.customer_id, one.id, plan=body.plan, quantity=body.quantity, at=body.at,
            expect=body.expect, request_key=attempt.key if attempt else None,
            return_url=body.return_url,
        )  # fmt: skip
        return reply(subscription_shape(done, env.settings.live))

    return once(env, attempt, one.customer_id, work)


@subscriptions_v1.delete(
    "/v1/subscriptions/{subscription}/change", response_model=None,
    summary="Take back a change that waits", responses={200: {"model": SubscriptionOut}},
    **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def drop_change(request: Request, subscription: str) -> Response:
    """One that waits for the period's end, or for its payment: that is ended first. Where its
    money came before that the answer has the new plan. One that had waited before it waits again:
    with an
    Idempotency-Key a repeat leaves that alone."""
    return await at_provider(request, _drop_change, request, subscription)


def _drop_change(request: Request, subscription: str) -> Response:
    env, who = env_of(request), who_of(request)
    one, attempt = _read(request, subscription), attempt_of(request, who, moves_money=False)

    def work() -> Response:
        done = subscription_pending.drop(
            env, one.customer_id, one.id, request_key=attempt.key if attempt else None
        )
        return reply(subscription_shape(done, env.settings.live))

    return once(env, attempt, one.customer_id, work)


@subscriptions_v1.post(
    "/v1/subscriptions/{subscription}/cancel", response_model=None,
    summary="Cancel a subscription", responses={200: {"model": SubscriptionOut}},
    **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def cancel_subscription(request: Request, subscription: str, body: CancelIn) -> Response:
    """At the period's end, or now: then what it opens is shut at once. Safe to repeat."""
    if body.refund is not None and who_of(request).role not in ("admin", "finance"):
        raise NotPermitted("Only staff who refund may give back what is unused.", param="refund")

    def do(env: Any, one: SubscriptionView) -> SubscriptionView:
        return subscription_changes.cancel(
            env, one.customer_id, one.id, at=body.at, reason=body.reason, refund=body.refund,
            by=causes.actor("desk"), persons=who_of(request).persons,
        )  # fmt: skip

    return await at_provider(request, _step, request, subscription, do)


@subscriptions_v1.post(
    "/v1/subscriptions/{subscription}/reactivate", response_model=None,
    summary="Take a cancellation back", responses={200: {"model": SubscriptionOut}},
    **cell(*HOLDERS, owner="own"),
)  # fmt: skip
def reactivate_subscription(request: Request, subscription: str) -> Response:
    """Before the period's end, at which it would be canceled."""
    return _step(request, subscription, lambda env, one: subscription_changes.reactivate(
        env, one.customer_id, one.id
    ))  # fmt: skip


@subscriptions_v1.post(
    "/v1/subscriptions/{subscription}/pause", response_model=None,
    summary="Pause a subscription", responses={200: {"model": SubscriptionOut}},
    **cell("admin", "service", "support", owner="own"),
)  # fmt: skip
def pause_subscription(request: Request, subscription: str, body: PauseIn) -> Response:
    """Its time stands still: nothing is billed and nothing is open."""
    return _step(request, subscription, lambda env, one: subscription_pauses.pause(
        env, one.customer_id, one.id, resume_at=body.resume_at
    ))  # fmt: skip


@subscriptions_v1.post(
    "/v1/subscriptions/{subscription}/resume", response_model=None,
    summary="Resume a subscription", responses={200: {"model": SubscriptionOut}},
    **cell("admin", "service", "support", owner="own"),
)  # fmt: skip
def resume_subscription(request: Request, subscription: str) -> Response:
    """Its time runs on; the period ends later by the pause."""
    return _step(request, subscription, lambda env, one: subscription_pauses.resume(
        env, one.customer_id, one.id
    ))  # fmt: skip


@subscriptions_v1.put(
    "/v1/subscriptions/{subscription}/payment_method", response_model=None,
    summary="Charge another method from now on", responses={200: {"model": SubscriptionOut}},
    **cell(*HOLDERS, owner="own"),
)  # fmt: skip
def set_subscription_method(
    request: Request, subscription: str, body: SubscriptionMethodIn
) -> Response:
    """What is owed is tried with it at once."""
    return _step(request, subscription, lambda env, one: subscription_changes.set_method(
        env, one.customer_id, one.id, body.payment_method
    ))  # fmt: skip


@subscriptions_v1.get(
    "/v1/invoice-items/{invoice_item}/why", response_model=None,
    summary="Why a line is as it is", responses={200: {"model": WhyOut}},
    **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def why_of_line(request: Request, invoice_item: str) -> Response:
    """The rule and what it was reckoned from, and its invoice's entries in the books."""
    env, who = env_of(request), who_of(request)
    one = subscriptions.why(env, owners.only_own(env, who), invoice_item)
    return reply({
        "object": "invoice_item_why",
        "livemode": env.settings.live,
        "invoice_item": ids.show("invoice_item", one.item_id),
        "invoice": ids.show("invoice", one.invoice_id),
        "kind": one.kind,
        "description": one.description,
        **fields.money(one.amount),
        "currency": one.amount.currency,
        "inputs": one.inputs,
        "of_item": fields.shown("invoice_item", one.of_item),
        "entries": list(one.entries),
        "text": one.explain(),
    })  # fmt: skip


def _read(request: Request, subscription: str) -> SubscriptionView:
    env = env_of(request)
    return subscriptions.get(env, owners.only_own(env, who_of(request)), subscription)


def _step(
    request: Request, subscription: str, do: Callable[[Any, SubscriptionView], SubscriptionView]
) -> Response:
    env, one = env_of(request), _read(request, subscription)
    return reply(subscription_shape(do(env, one), env.settings.live))
