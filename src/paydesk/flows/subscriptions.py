"""Subscriptions begin: a saved method is charged, a page is opened, or a trial runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from paydesk import crash, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    InvalidPromoCode,
    InvalidRequest,
    NotSupported,
    PaydeskError,
    PaymentFailed,
    PaymentMethodNotUsable,
)
from paydesk.flows import (
    customers,
    heads,
    invoice_books,
    invoices,
    methods,
    plans,
    provider_billing,
    provider_calls,
    setups,
    subscription_first,
    subscription_hooks,
    subscription_promos,
    subscription_trials,
)
from paydesk.flows import provider_billing_invoices as provider_billing_invoices
from paydesk.flows import subscription_bills as bills
from paydesk.flows import subscription_steps as steps
from paydesk.flows.plans import Plan
from paydesk.flows.setups import StartSetup
from paydesk.flows.subscription_first import FirstInvoice
from paydesk.flows.subscription_steps import Sub
from paydesk.flows.subscription_views import (
    STATES,
    SubscriptionView,
    Why,
    current,
    get,
    list_,
    why,
)
from paydesk.rules import fields, periods
from paydesk.rules.plans import MOST_TRIAL_DAYS

__all__ = [
    "STATES", "Draft", "NewSubscription", "SubscriptionView", "Why", "check_runner", "current",
    "draw_up", "get", "lapse", "list_", "start", "subscription_hooks", "why",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubscription:
    """What is subscribed to and how it is paid for.

    `method`: a saved one (our id or the provider's); without it the default one, and without any
    a page is opened, whose method is saved. `is_hosted`: open a page in any case. `trial_days`
    stands above the plan's, 0 for none. `runner`: who bills it, this desk ("paydesk") or the
    provider, on whose page it begins. `zone`: whose calendar and clocks the periods follow.
    `expect`: a preview of the last hour, or its token; where the figures moved it is refused, and
    else it begins at the preview's instant.
    """

    customer_id: UUID
    plan: Any
    quantity: int = 1
    currency: str | None = None
    promo: str | None = None
    trial_days: int | None = None
    method: str | UUID | None = None
    is_hosted: bool = False
    provider: str | None = None
    runner: str = "paydesk"
    success_url: str | None = None
    cancel_url: str | None = None
    zone: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    expect: FirstInvoice | str | None = None
    request_key: UUID | None = None
    request_hash: bytes | None = None

    def digest(self) -> bytes:
        """What makes two requests the same, where the caller did not say."""
        if self.request_hash is not None:
            return self.request_hash
        plan = getattr(self.plan, "key", None) or str(self.plan)
        told = [
            plan, self.quantity, self.currency, self.promo, self.trial_days, str(self.method),
            self.is_hosted, self.provider, self.success_url, self.cancel_url, self.zone,
            {str(k): str(v) for k, v in self.metadata.items()},
            *([self.runner] if self.runner != "paydesk" else []),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).digest()


def start(env: Env, what: NewSubscription) -> SubscriptionView:
    """Subscribe, or go on with what this `request_key` began.

    With a saved method it is charged at once; else the answer is incomplete and has the page
    (`url`) to pay on, or to save a method on where a trial comes first. Raises NotFound (plan,
    method), InvalidRequest, InvalidPromoCode, SubscriptionAlreadyActive (PAY004), NotSupported,
    PaymentMethodNotUsable, PreviewOutdated, IdempotencyKeyReused, ProviderUnavailable and
    OutcomeUnknown (repeat with the same key, or let the sweeps settle it).
    """
    check_runner(what.runner)
    for param in ("success_url", "cancel_url"):
        fields.optional_text(getattr(what, param), param, most=2048)
    what = replace(what, request_key=what.request_key or uuid4())
    if what.runner == "provider" and what.expect is not None:
        raise NotSupported("What the provider runs is not previewed here.", param="expect")
    _give_way(env, what)
    if what.runner == "provider":
        return provider_billing.start(env, what)
    with env.db.transaction(what.customer_id) as tx:
        now = heads.decide(tx, env.now(), what.customer_id)
        assert what.request_key is not None
        sub = _known(tx, what)
        call = None
        if sub is None:
            sub, call = _begin(env, tx, now, what)
        crash.at("subscribe_before_commit")
    crash.at("subscribe_after_commit")
    if call is not None:
        with contextlib.suppress(PaymentFailed):  # It stands on the payment and the invoice.
            provider_calls.run(env, call)
    return _go_on(env, what, sub)


def check_runner(runner: str) -> None:
    """Raises InvalidRequest for nobody who bills a subscription."""
    if runner not in ("paydesk", "provider"):
        raise InvalidRequest("runner is 'paydesk' or 'provider'.", param="runner")


def _known(tx: Tx, what: NewSubscription) -> Sub | None:
    assert what.request_key is not None
    return steps.of_request(tx, what.customer_id, what.request_key, what.digest())


def _go_on(env: Env, what: NewSubscription, sub: Sub) -> SubscriptionView:
    """The subscription with the page that it waits for, opened where there is none yet."""
    found = get(env, sub.customer_id, sub.id)
    way = sub.told.get("way")
    if found.state != "incomplete" or way == "charge":
        return found
    if way == "setup":
        shown = ids.show("subscription", sub.id)
        setup = setups.start(env, StartSetup(
            customer_id=sub.customer_id, provider=sub.provider, hosted=True, make_default=True,
            success_url=what.success_url, cancel_url=what.cancel_url,
            metadata={"subscription_id": shown},
            request_key=ids.request_key("subscription", str(sub.id), "setup"),
        ))  # fmt: skip
        return replace(get(env, sub.customer_id, sub.id), setup=setup)
    assert found.latest_invoice_id is not None
    page = invoices.checkout_for(
        env, sub.customer_id, found.latest_invoice_id, success_url=what.success_url,
        cancel_url=what.cancel_url, provider=sub.provider,
        request_key=ids.request_key("subscription", str(sub.id), "checkout"),
    )  # fmt: skip
    return replace(get(env, sub.customer_id, sub.id), checkout=page)


# Beginning -------------------------------------------------------------------------------------


def _give_way(env: Env, what: NewSubscription) -> None:
    """An earlier one of the family that nobody paid for makes room: its page is ended first.

    Money that came in the meantime keeps it, and refuses this one.
    """
    plan = plans.get(env, what.plan, active_only=True)
    with env.db.read() as tx:
        waiting = [
            one for one in steps.of_customer(tx, what.customer_id, family=plan.family,
                                             states=["incomplete"])
            if one.request_key != what.request_key and (
                one.told.get("way") != "charge" or not _is_under_way(tx, one))
        ]  # fmt: skip
    for one in waiting:
        with contextlib.suppress(PaydeskError):
            lapse(env, one.customer_id, one.id)


def lapse(env: Env, customer_id: UUID, sub_id: UUID) -> None:
    """Give up one that was never paid for: its page is ended, its invoice voided.

    Raises PaymentInFlight while money may come, and what the provider raises.
    """
    with env.db.read() as tx:
        sub = steps.read(tx, customer_id, sub_id)
    if sub.runner == "provider":
        provider_billing.lapse(env, customer_id, sub_id)
        return
    if sub.state == "incomplete" and sub.latest_invoice_id is not None:
        invoices.void(env, customer_id, sub.latest_invoice_id)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        if sub.state == "incomplete":
            subscription_promos.release(tx, sub, now)
            steps.end(tx, now, sub, "lapsed", "not_paid")
            steps.save(tx, now, sub)


def _begin(
    env: Env, tx: Tx, now: datetime, what: NewSubscription
) -> tuple[Sub, provider_calls.Call | None]:
    """Weigh it and write it, with its first invoice and the call that charges it."""
    start = subscription_first.moment_of(now, what.expect)
    drawn = draw_up(env, tx, now, what, start)
    subscription_first.check(env, tx, now, drawn, what.expect)
    sub, code = drawn.sub, drawn.code
    sub.clock_id = tx.heads[what.customer_id].clock_id
    heads.count_day(tx, what.customer_id, now, 1, env.settings.max_daily_transactions)
    subscription_promos.use(tx, code, drawn.plan, what.customer_id, sub.id, now)
    call = _open(
        env, tx, now, sub, drawn.plan, drawn.trial_days, drawn.has_method, what.success_url
    )
    return sub, call


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A subscription as it would begin: nothing of it is written."""

    sub: Sub
    plan: Plan
    code: subscription_promos.Code | None
    trial_days: int
    has_method: bool


def draw_up(
    env: Env, tx: Tx, now: datetime, what: NewSubscription, start: datetime | None = None
) -> Draft:
    """What subscribing now would begin, at `start` (now), weighed and not written. Raises as
    `start`."""
    plan = plans.plan_in(tx, what.plan, active_only=True)
    steps.check_free(tx, what.customer_id, plan.family)
    _check_waiting(tx, what.customer_id, plan.family)
    price = plans.price(plan.terms, what.currency, env.settings.default_currency)
    quantity = fields.whole(what.quantity, "quantity", least=plan.terms.least_quantity,
                            most=plan.terms.most_quantity)  # fmt: skip
    who = customers.by_uuid(tx, what.customer_id)
    assert who is not None, "it is asked for by its id"
    code = subscription_promos.chosen(tx, what.promo, who, plan, price, now)
    days = _trial_days(tx, what, plan, code)
    saved = _method(tx, what, now)
    name = (saved["provider"] if saved else None) or what.provider or env.providers.default
    needed = {"charge"} if saved else {"checkout", "charge"}
    if not needed <= env.providers[name].can:
        raise NotSupported(f"{name} charges no saved methods: it bills no subscriptions.")
    zone, start = what.zone or "UTC", start or now
    periods.time_zone(zone)
    sub = Sub(
        customer_id=what.customer_id, id=ids.new_owned(what.customer_id), state="incomplete",
        plan_id=plan.uuid, plan_version=plan.version, family=plan.family, quantity=quantity,
        currency=price.currency, price_minor=price.minor, anchor=start, zone=zone,
        period_start=start, period_end=start + steps.INSTANT,
        discount=code.kept if code else None,
        method_id=saved["id"] if saved and what.method is not None else None,
        provider=name, provider_account=env.providers[name].account, told={},
        metadata=fields.metadata(what.metadata), request_key=what.request_key or uuid4(),
        request_hash=what.digest(), created_at=now,
    )  # fmt: skip
    _lay_out(sub, plan, start)
    return Draft(sub=sub, plan=plan, code=code, trial_days=days, has_method=bool(saved))


def _open(
    env: Env, tx: Tx, now: datetime, sub: Sub, plan: Plan, days: int, has_method: bool,
    return_url: str | None,
) -> provider_calls.Call | None:  # fmt: skip
    """Write it in the state that it begins in: a trial, a setup, a charge, or a page."""
    if days:
        is_ready = has_method or not plan.terms.trial_needs_method
        sub.told = {"way": "trial" if is_ready else "setup", "trial_days": days}
        _write(tx, now, sub)
        if is_ready:
            subscription_trials.begin(tx, now, sub, days, start=sub.period_start)
            steps.save(tx, now, sub)
        return None
    sub.told = {"way": "charge" if has_method else "checkout"}
    discount = bills.use_discount(tx, sub)
    _write(tx, now, sub)
    span = sub.period_start, sub.period_end
    row = bills.bill(
        env, tx, now, sub, "subscription_create",
        [bills.period_item(tx, sub, plan.terms, *span)], key=("cycle", "0"), cycle=0,
        period=span, discount=discount,
    )  # fmt: skip
    fresh = steps.read(tx, *sub.key)
    fresh.latest_invoice_id = row.id
    call = None
    if has_method and row.state == "open":
        call = bills.charge(
            env, tx, now, fresh, row, off_session=False, return_url=return_url
        )
        if call is None:
            raise PaymentMethodNotUsable("This method cannot be charged.", param="method")
    steps.save(tx, now, fresh)
    return call


def _write(tx: Tx, now: datetime, sub: Sub) -> None:
    sub.due_at = steps.due_at(tx, sub)
    steps.write(tx, sub)
    steps.tell(tx, now, sub, "created")


def _lay_out(sub: Sub, plan: Plan, now: datetime) -> None:
    """Where the first period lies; calendar billing begins with a short one."""
    told = plan.terms
    sub.anchor, sub.anchor_period = now, 0
    sub.period_end = periods.boundary(now, told.interval_unit, told.interval_count, 1, sub.zone)
    if told.billing == "calendar":
        sub.anchor = periods.calendar_anchor(now, told.interval_unit, sub.zone)
        sub.anchor_period, sub.period_end = 1, sub.anchor


def _check_waiting(tx: Tx, customer_id: UUID, family: str) -> None:
    """Raises SubscriptionAlreadyActive where one of the family may still become one."""
    for one in steps.of_customer(tx, customer_id, family=family, states=["incomplete"]):
        if _is_under_way(tx, one):
            raise steps.already_active(one.id)


def _is_under_way(tx: Tx, sub: Sub) -> bool:
    """Whether its first payment may still come."""
    if sub.latest_invoice_id is None:
        return False
    row = invoice_books.find(tx, sub.customer_id, sub.latest_invoice_id)
    return row is not None and invoice_books.under_way(tx, row) is not None


def _trial_days(
    tx: Tx, what: NewSubscription, plan: Plan, code: subscription_promos.Code | None
) -> int:
    """How long the trial is; none for who had one of this family."""
    days = plan.terms.trial_days
    if what.trial_days is not None:
        days = fields.whole(what.trial_days, "trial_days", least=0, most=MOST_TRIAL_DAYS)
    is_codes = code is not None and code.trial_days > 0
    if code is not None:
        days = max(days, code.trial_days)
    if days and subscription_trials.had(tx, what.customer_id, plan.family):
        if is_codes:
            raise InvalidPromoCode("This customer had a trial before.",
                                   reason="customer_limit_reached", param="promo")  # fmt: skip
        return 0
    return days


def _method(tx: Tx, what: NewSubscription, now: datetime) -> dict[str, Any] | None:
    """The row of the method to charge; None where a page is to be opened."""
    if what.is_hosted:
        if what.method is not None:
            raise InvalidRequest("A page asks for the method itself.", param="method")
        return None
    try:
        row = methods.for_charge(tx, what.customer_id, what.method, now)
    except PaymentMethodNotUsable:
        if what.method is not None:
            raise
        return None
    if what.provider not in (None, row["provider"]):
        if what.method is None:
            return None
        raise InvalidRequest(f"This method is {row['provider']}'s.", param="method")
    return row
