"""Subscriptions that the provider bills: begun on its page, and given up where nobody came."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.clock import SystemClock
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    InvalidRequest,
    NotSupported,
    PaymentInFlight,
)
from paydesk.flows import (
    customers,
    heads,
    plans,
    provider_calls,
    provider_clocks,
    subscription_promos,
    subscription_trials,
)
from paydesk.flows import provider_billing_events as news
from paydesk.flows import provider_prices as prices
from paydesk.flows import subscription_steps as steps
from paydesk.flows.plans import Plan
from paydesk.flows.subscription_promos import Code
from paydesk.flows.subscription_steps import Sub
from paydesk.flows.subscription_views import SubscriptionView, get
from paydesk.providers.billing import PageOrder
from paydesk.rules import fields
from paydesk.rules.money import Money
from paydesk.rules.plans import MOST_TRIAL_DAYS

if TYPE_CHECKING:
    from paydesk.flows.subscriptions import NewSubscription

#: A page can be paid on for so long; providers end theirs after a day.
PAGE_LIFE = timedelta(hours=23)


def start(env: Env, what: NewSubscription) -> SubscriptionView:
    """Open the provider's page on which the plan is subscribed to, or answer the one that this
    `request_key` opened. What comes of it, its events say.

    Raises as `subscriptions.start`; NotSupported for what the provider's page cannot do.
    """
    name = what.provider or env.providers.default
    _check(env, name, what)
    assert what.request_key is not None
    with env.db.read() as tx:
        known = _known(tx, what)
        plan = plans.plan_in(tx, what.plan, active_only=known is None)
    if known is None:
        price = plans.price(plan.terms, what.currency, env.settings.default_currency)
        # Both are kept under keys of their own: made once, whoever dies here.
        price_ref = prices.ensure(env, name, plan, price)
        payer = provider_clocks.payer(env, what.customer_id, name)
        with env.db.transaction(what.customer_id) as tx:
            now = heads.decide(tx, env.now(), what.customer_id)
            known, call = _known(tx, what), None
            if known is None:
                known, call = _begin(env, tx, now, what, name, plan, price, price_ref, payer)
            crash.at("subscribe_before_commit")
        crash.at("subscribe_after_commit")
        if call is not None:
            provider_calls.run(env, call)
            return get(env, known.customer_id, known.id)
    _go_on(env, known)
    return get(env, known.customer_id, known.id)


def _check(env: Env, name: str, what: NewSubscription) -> None:
    if "billing" not in env.providers[name].can:
        raise NotSupported(f"{name} runs no subscriptions itself.", param="runner")
    if what.method is not None:
        raise InvalidRequest("The provider's page asks for the method itself.", param="method")
    if what.zone not in (None, "UTC"):
        raise NotSupported("The provider counts periods in UTC.", param="zone")
    plan = plans.get(env, what.plan)
    if plan.terms.billing == "calendar":
        raise NotSupported("The provider's page knows no calendar billing.", param="plan")


def _known(tx: Tx, what: NewSubscription) -> Sub | None:
    assert what.request_key is not None
    return steps.of_request(tx, what.customer_id, what.request_key, what.digest())


def _go_on(env: Env, sub: Sub) -> None:
    """Open the page that was begun with this key, where nobody did yet."""
    if sub.state != "incomplete" or "page" in sub.told:
        return
    with env.db.read() as tx:
        call_id = tx.value(
            "select id from provider_calls where customer_id = %(customer_id)s"
            " and subject_id = %(id)s and action = 'billing' order by created_at limit 1",
            {"customer_id": sub.customer_id, "id": sub.id},
        )
    if call_id is not None:
        provider_calls.resume(env, sub.customer_id, call_id)


def _begin(
    env: Env, tx: Tx, now: datetime, what: NewSubscription, name: str, plan: Plan, price: Money,
    price_ref: str, payer: str,
) -> tuple[Sub, provider_calls.Call]:  # fmt: skip
    steps.check_free(tx, what.customer_id, plan.family)
    _check_pages(tx, now, what.customer_id, plan.family)
    quantity = fields.whole(what.quantity, "quantity", least=plan.terms.least_quantity,
                            most=plan.terms.most_quantity)  # fmt: skip
    who = customers.by_uuid(tx, what.customer_id)
    assert who is not None and what.request_key is not None, "its head is locked"
    code = subscription_promos.chosen(tx, what.promo, who, plan, price, now)
    days = _trial_days(tx, what, plan, code)
    heads.count_day(tx, what.customer_id, now, 1, env.settings.max_daily_transactions)
    sub = Sub(
        customer_id=what.customer_id, id=ids.new_owned(what.customer_id), state="incomplete",
        runner="provider", plan_id=plan.uuid, plan_version=plan.version, family=plan.family,
        quantity=quantity, currency=price.currency, price_minor=price.minor, anchor=now,
        period_start=now, period_end=now + steps.INSTANT, discount=_kept(code),
        provider=name, provider_account=env.providers[name].account,
        told={"way": "page", "trial_days": days}, metadata=fields.metadata(what.metadata),
        request_key=what.request_key, request_hash=what.digest(),
        clock_id=tx.heads[what.customer_id].clock_id, created_at=now,
    )  # fmt: skip
    steps.write(tx, sub)
    steps.tell(tx, now, sub, "created")
    subscription_promos.use(tx, code, plan, what.customer_id, sub.id, now)
    real_now = heads.real(tx, now, what.customer_id)
    tx.run(
        "update subscriptions set look_at = %(at)s"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": sub.customer_id, "id": sub.id, "at": real_now + PAGE_LIFE},
    )
    coupon = _coupon(sub, plan)
    call = provider_calls.intend(
        tx, now, customer_id=what.customer_id, call_id=ids.new_owned(what.customer_id),
        action="billing", subject_id=sub.id, clock_id=sub.clock_id,
        request={
            "provider": name, "op": "open", "coupon": coupon,
            "body": env.providers[name].page_request(PageOrder(
                id=ids.show("subscription", sub.id), price=price_ref, quantity=quantity,
                provider_customer=payer, expires_at=_page_end(env, real_now), trial_days=days,
                trial_needs_method=plan.terms.trial_needs_method, coupon=coupon,
                success_url=what.success_url or env.settings.base_url,
                cancel_url=what.cancel_url or what.success_url or env.settings.base_url,
                metadata={"customer_id": who.id,
                          "subscription_id": ids.show("subscription", sub.id),
                          "userId": who.external_id[:500]},
            )),
        },
    )  # fmt: skip
    return sub, call


def _page_end(env: Env, real_now: datetime) -> datetime:
    """A clock of a test's may be months ahead: the provider counts its pages' lives by its own."""
    return (real_now if isinstance(env.clock, SystemClock) else datetime.now(UTC)) + PAGE_LIFE


def _check_pages(tx: Tx, now: datetime, customer_id: UUID, family: str) -> None:
    """Raises PaymentInFlight where the family has a page that could not be ended: on two of them
    a customer would subscribe twice."""
    for one in steps.of_customer(tx, customer_id, family=family, states=["incomplete"]):
        is_open = one.runner == "provider" and one.provider_ref is None
        if is_open and one.created_at > now - PAGE_LIFE:
            raise PaymentInFlight("Another subscription of this family is being begun.")


def _trial_days(tx: Tx, what: NewSubscription, plan: Plan, code: Code | None) -> int:
    """As our own engine has it: one trial of a family for each customer."""
    days = plan.terms.trial_days
    if what.trial_days is not None:
        days = fields.whole(what.trial_days, "trial_days", least=0, most=MOST_TRIAL_DAYS)
    if code is not None:
        days = max(days, code.trial_days)
    if days and subscription_trials.had(tx, what.customer_id, plan.family):
        return 0
    return days


def _kept(code: subscription_promos.Code | None) -> dict[str, Any] | None:
    """What it keeps of its code: the coupon there is for every plan."""
    return {k: v for k, v in code.kept.items() if k != "plans"} if code else None


def _coupon(sub: Sub, plan: Plan) -> dict[str, Any] | None:
    """What a promo code takes off, as the provider keeps it: one for each subscription."""
    kept = sub.discount or {}
    if not (kept.get("percent") or kept.get("minor")):
        return None
    left, unit, count = kept["left"], plan.terms.interval_unit, plan.terms.interval_count
    told: dict[str, Any] = {
        "id": f"paydesk-{ids.show('subscription', sub.id)}", "name": kept["code"],
        "percent": kept.get("percent"), "minor": kept.get("minor"), "currency": sub.currency,
        "duration": "forever" if left is None else "once" if left == 1 else "repeating",
    }  # fmt: skip
    if told["duration"] == "repeating":
        months = {"month": 1, "year": 12}.get(unit)
        if months is None:
            raise NotSupported(
                "The provider counts discounts in months: this plan's periods are none.",
                param="promo",
            )
        told["months"] = left * months * count
    return told


def lapse(env: Env, customer_id: UUID, sub_id: UUID) -> None:
    """Give up one that nobody subscribed to: its page is ended first.

    Raises PaymentInFlight where somebody did meanwhile, or it is being opened, and what the
    provider raises.
    """
    with env.db.read() as tx:
        sub = steps.read(tx, customer_id, sub_id)
    if sub.state != "incomplete":
        return
    page = (sub.told.get("page") or {}).get("session")
    if page is None or sub.provider_ref is not None:
        raise PaymentInFlight("This subscription is being begun at the provider.")
    found = env.providers.call(sub.provider, "end_page", page)
    if found.subscription_ref is not None:
        with contextlib.suppress(PaymentInFlight):
            news.sync(env, sub.provider, customer_id, found.subscription_ref, path="command")
        return
    news.page_ended(env, sub.provider, customer_id,
                    replace(found, subscription_id=str(sub.id)))  # fmt: skip
