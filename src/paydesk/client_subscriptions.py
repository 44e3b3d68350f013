"""The library's front for subscriptions: `pay.subscribe` and `pay.subscriptions`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.client_methods import MethodRef, Setup, method_ref
from paydesk.client_parts import CustomerRef, _Part, request_key
from paydesk.client_plans import PlanRef
from paydesk.env import Env
from paydesk.errors import NotSupported
from paydesk.flows import checkout as checkouts
from paydesk.flows import (
    customers,
    direct,
    provider_billing_events,
    setups,
    subscription_changes,
    subscription_offers,
    subscription_pauses,
    subscription_pending,
)
from paydesk.flows import subscriptions as flow
from paydesk.flows.subscription_charges import ChangePreview as ChangeView
from paydesk.flows.subscription_first import FirstInvoice
from paydesk.flows.subscription_views import SubscriptionView, Why
from paydesk.results import Listing, Payment, Session
from paydesk.rules.money import Money

#: Digits that stand for Stripe's test card of that beginning.
_SHORT_CARDS = {"4242": "4242424242424242"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription. `status` is incomplete, trialing, active, past_due, paused, unpaid, canceled
    or expired; `runner` is who bills it, "paydesk" or "provider"; `price` is of one seat for one
    period and `amount` of all seats. `url` is the page that a new one waits for (`page`: its name
    at the provider), `next` a change that waits: {plan, quantity}. `payment` is the one under way
    that a new one or a change waits for: where its status is requires_action, its `action_url`,
    which is `url` too, is the bank's page."""

    id: str
    customer: str
    status: str
    plan: str
    plan_name: str
    family: str
    quantity: int
    price: Money
    amount: Money
    interval: str
    interval_count: int
    period_start: datetime
    period_end: datetime
    zone: str
    trial_start: datetime | None
    trial_end: datetime | None
    cancel_at: datetime | None
    canceled_at: datetime | None
    cancel_reason: str | None
    ended_at: datetime | None
    end_reason: str | None
    paused_at: datetime | None
    resume_at: datetime | None
    next: Mapping[str, Any] | None = field(hash=False)
    promo: str | None
    method: str | None
    provider: str
    runner: str
    invoice: str | None
    metadata: Mapping[str, str] = field(hash=False)
    created_at: datetime
    url: str | None = None
    checkout: Session | None = None
    setup: Setup | None = field(default=None, compare=False)
    page: str | None = field(default=None, repr=False)
    payment: Payment | None = field(default=None, repr=False)
    _pay: Callable[[Subscription, str], Subscription] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def active(self) -> bool:
        """Whether it gives what its plan gives: paid for, in its trial, or a little late."""
        return self.status in ("trialing", "active", "past_due")

    def complete(self, card: str = "4242424242424242") -> Subscription:
        """In the sandbox: open `url` and pay, or save a method, with this test card, or confirm it
        on the bank's page, as a customer would. Answers it as it is then. Raises NotSupported
        elsewhere."""
        if self._pay is None:
            raise NotSupported("Only a subscription that waits for its page can be completed.")
        return self._pay(self, _SHORT_CARDS.get(card, card))

    def __repr__(self) -> str:
        return f"<Subscription {self.id} {self.plan} {self.status}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLine:
    """A line that an invoice would have; below zero what is credited or taken off."""

    kind: str
    description: str
    amount: Money
    why: Mapping[str, Any] = field(hash=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePreview:
    """What a change would cost. `due_now` is charged at once, `credit` goes to the customer's
    balance, and the next period is billed at `next_at`. Give it to `change(expect=…)`."""

    subscription: str
    plan: str
    quantity: int
    at: str
    lines: tuple[ChangeLine, ...]
    total: Money
    credit: Money
    due_now: Money
    next_at: datetime
    next_amount: Money
    credits_back: int
    credits_given: int
    token: str = field(repr=False)

    @classmethod
    def of(cls, view: ChangeView) -> ChangePreview:
        return cls(
            subscription=ids.show("subscription", view.subscription_id), plan=view.plan,
            quantity=view.quantity, at=view.when, total=view.total, credit=view.credit,
            lines=tuple(ChangeLine(kind=one.kind, description=one.description, amount=one.amount,
                                   why=one.why) for one in view.lines),
            due_now=view.due_now, next_at=view.next_at, next_amount=view.next_amount,
            credits_back=view.credits_back, credits_given=view.credits_given, token=view.token,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<ChangePreview to {self.plan} {self.at}: {self.due_now} now>"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPreview:
    """What a new subscription would cost. `lines` are of its first invoice, on `first_at`: now, or
    when the trial ends (`trial_end`); `from_balance` pays a part of its `total`, `due` is charged
    then, and `due_now` at once. The period after it is billed on `next_at`, for `next_amount`
    before taxes and discounts and `next_total` with them.

    `way`: "charge" (a saved method pays at once), "checkout" (on a page), "free" (nothing is due),
    "trial" (begins at once) or "setup" (a page saves a method before the trial). Give it to
    `subscribe(expect=…)`."""

    customer: str
    plan: str
    quantity: int
    way: str
    lines: tuple[ChangeLine, ...]
    total: Money
    from_balance: Money
    due: Money
    due_now: Money
    first_at: datetime
    period_start: datetime
    period_end: datetime
    trial_days: int
    trial_end: datetime | None
    promo: str | None
    next_at: datetime
    next_amount: Money
    next_total: Money
    token: str = field(repr=False)

    @classmethod
    def of(cls, view: FirstInvoice) -> NewPreview:
        currency = view.total.currency
        return cls(
            customer=ids.show("customer", view.customer_id), plan=view.plan,
            quantity=view.quantity, way=view.way, total=view.total,
            lines=tuple(ChangeLine(
                kind=one.kind, description=one.description, why=one.why,
                amount=Money(one.amount_minor, currency, minor=True),
            ) for one in view.lines),
            from_balance=view.from_balance, due=view.due, due_now=view.due_now, first_at=view.at,
            period_start=view.period[0], period_end=view.period[1], trial_days=view.trial_days,
            trial_end=view.at if view.trial_days else None, promo=(view.code or {}).get("code"),
            next_at=view.next_at, next_amount=view.next_amount, next_total=view.next_total,
            token=view.token,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<NewPreview of {self.plan}: {self.due_now} now>"


#: A subscription: its id, or the object.
SubscriptionRef = str | UUID | Subscription


def shown(env: Env, view: SubscriptionView) -> Subscription:
    """A subscription as the library answers it."""
    page = view.checkout
    session = Session.of(page, is_served=bool(env.settings.public_url)) if page else None
    setup = Setup.of(view.setup) if view.setup else None
    waits = (session, setup, view.page_ref, view.action_url) != (None, None, None, None)
    return Subscription(
        id=ids.show("subscription", view.id), customer=ids.show("customer", view.customer_id),
        status=view.state, plan=view.plan_key, plan_name=view.plan_name, family=view.family,
        quantity=view.quantity, price=view.price, amount=view.amount,
        interval=view.interval_unit, interval_count=view.interval_count,
        period_start=view.period_start, period_end=view.period_end, zone=view.zone,
        trial_start=view.trial_start, trial_end=view.trial_end, cancel_at=view.cancel_at,
        canceled_at=view.canceled_at, cancel_reason=view.cancel_reason, ended_at=view.ended_at,
        end_reason=view.end_reason, paused_at=view.paused_at, resume_at=view.resume_at,
        next={"plan": view.next["plan"], "quantity": view.next["quantity"]} if view.next else None,
        promo=(view.discount or {}).get("code"), provider=view.provider, runner=view.runner,
        method=ids.show("method", view.method_id) if view.method_id else None,
        invoice=ids.show("invoice", view.latest_invoice_id) if view.latest_invoice_id else None,
        metadata=view.metadata, created_at=view.created_at,
        url=session.url if session else setup.url if setup else view.action_url or view.page_url,
        checkout=session, setup=setup, page=view.page_ref,
        payment=Payment.of(view.payment) if view.payment else None,
        _pay=_payer(env) if waits else None,
    )  # fmt: skip


def _payer(env: Env) -> Callable[[Subscription, str], Subscription]:
    """Pays the page that a subscription waits for, at the simulator."""

    def pay(sub: Subscription, card: str) -> Subscription:
        base = env.settings.simulator_url
        if not env.settings.simulated or not base:
            raise NotSupported("Only the simulator's pages can be completed by a program.")
        from paydesk.simulator import cli

        if sub.setup is not None:
            cli.pay(sub.setup.provider_setup or "", card, base)
            setups.verify(env, None, sub.setup.id)
        elif sub.checkout is not None:
            cli.pay(sub.checkout.payment.provider_session or "", card, base)
            checkouts.verify(env, sub.checkout.id)
        elif sub.payment is not None:
            cli.authenticate(sub.payment.action_url or "", base)
            direct.confirm(env, None, sub.payment.id)
        elif sub.page is not None:
            cli.pay(sub.page, card, base)
            provider_billing_events.look(env, *subscription_changes.find(env, None, sub.id))
        return shown(env, flow.get(env, None, sub.id))

    return pay


def subscribe(
    env: Env, customer: CustomerRef, plan: PlanRef, *, quantity: int, currency: str | None,
    promo: str | None, trial_days: int | None, method: MethodRef | None, hosted: bool,
    provider: str | None, runner: str, success_url: str | None, cancel_url: str | None,
    zone: str | None, metadata: Mapping[str, Any] | None, expect: NewPreview | str | None,
    key: str | None,
) -> Subscription:  # fmt: skip
    """What `Paydesk.subscribe` does."""
    who = customers.ensure(env, customer)
    return shown(env, flow.start(env, flow.NewSubscription(
        customer_id=who.uuid, plan=plan, quantity=quantity, currency=currency, promo=promo,
        trial_days=trial_days, method=None if method is None else method_ref(method),
        is_hosted=hosted, provider=provider, runner=runner, success_url=success_url,
        cancel_url=cancel_url, zone=zone, metadata=metadata or {}, request_key=request_key(key),
        expect=expect.token if isinstance(expect, NewPreview) else expect,
    )))  # fmt: skip


class Subscriptions(_Part):
    """Subscriptions that run, and what becomes of them."""

    def get(self, subscription: SubscriptionRef) -> Subscription:
        """One subscription. Raises NotFound."""
        return shown(self._env, flow.get(self._env, *self._key(subscription)))

    def current(self, customer: CustomerRef, *, family: str | None = None) -> Subscription | None:
        """The customer's running subscription, of a family where there are several; None without
        one."""
        who = customers.ensure(self._env, customer)
        found = flow.current(self._env, who.uuid, family)
        return shown(self._env, found) if found else None

    def list(
        self,
        customer: CustomerRef | None = None,
        *,
        status: str | None = None,
        plan: str | None = None,
        limit: int | None = None,
    ) -> Listing[Subscription]:
        """Subscriptions, newest first: a customer's, or everybody's."""
        who = None if customer is None else customers.resolve(self._env, customer)

        def page(last: Any, n: int) -> Any:
            after = last.id if last else None
            return flow.list_(self._env, who, state=status, plan=plan, limit=n, after=after)

        return Listing(page, lambda one: shown(self._env, one), limit=limit)

    def preview_new(
        self,
        customer: CustomerRef,
        plan: PlanRef,
        *,
        quantity: int = 1,
        currency: str | None = None,
        promo: str | None = None,
        trial_days: int | None = None,
        method: MethodRef | None = None,
        hosted: bool = False,
        provider: str | None = None,
        runner: str = "paydesk",
        zone: str | None = None,
    ) -> NewPreview:
        """What `subscribe` with the same arguments would cost first, and next; nothing is written
        or reserved. Raises as `subscribe`; NotSupported for a `runner` that reckons it itself."""
        who = customers.ensure(self._env, customer)
        return NewPreview.of(subscription_offers.preview_of(self._env, flow.NewSubscription(
            customer_id=who.uuid, plan=plan, quantity=quantity, currency=currency, promo=promo,
            trial_days=trial_days, method=None if method is None else method_ref(method),
            is_hosted=hosted, provider=provider, runner=runner, zone=zone,
        )))  # fmt: skip

    def preview(
        self,
        subscription: SubscriptionRef,
        *,
        plan: PlanRef | None = None,
        quantity: int | None = None,
        at: str | None = None,
    ) -> ChangePreview:
        """What a change of plan or seats would cost; nothing changes. `at`: now or period_end,
        else as the plan has it."""
        return ChangePreview.of(subscription_changes.preview(
            self._env, *self._both(subscription), plan=plan, quantity=quantity, at=at
        ))  # fmt: skip

    def change(
        self,
        subscription: SubscriptionRef,
        *,
        plan: PlanRef | None = None,
        quantity: int | None = None,
        at: str | None = None,
        expect: ChangePreview | str | None = None,
        return_url: str | None = None,
        key: str | None = None,
    ) -> Subscription:
        """Change plan or seats. With `expect`, a preview of the last hour, it is refused where it
        would cost another sum by now. What it costs is charged at once; where that fails nothing
        changes. Where a bank asks its holder first, send him to the answer's `url`, which leads
        back to `return_url`; until then the old plan runs.

        Raises PreviewOutdated, PaymentFailed, PaymentMethodNotUsable, InvalidRequest, Conflict.
        """
        token = expect.token if isinstance(expect, ChangePreview) else expect
        return shown(self._env, subscription_changes.change(
            self._env, *self._both(subscription), plan=plan, quantity=quantity, at=at,
            expect=token, request_key=request_key(key), return_url=return_url,
        ))  # fmt: skip

    def drop_change(self, subscription: SubscriptionRef) -> Subscription:
        """Take back the change that waits, for the period's end or for its payment: that is ended
        at the provider first. Where its money came before that the answer has the new plan.
        Nothing is done where nothing waits. Raises PaymentInFlight, ProviderUnavailable."""
        return shown(
            self._env, subscription_pending.drop(self._env, *self._both(subscription))
        )

    def cancel(
        self,
        subscription: SubscriptionRef,
        *,
        at: str = "period_end",
        reason: str | None = None,
        refund: str | None = None,
        by: str | None = None,
    ) -> Subscription:
        """End it at the period's end, or with `at="now"` at once, which shuts what it opens.
        `refund="unused"` then gives back what was paid for the rest."""
        return shown(self._env, subscription_changes.cancel(
            self._env, *self._both(subscription), at=at, reason=reason, refund=refund,
            by=by or "application",
        ))  # fmt: skip

    def reactivate(self, subscription: SubscriptionRef) -> Subscription:
        """Take back a cancellation at the period's end, before it comes."""
        return shown(
            self._env, subscription_changes.reactivate(self._env, *self._both(subscription))
        )

    def pause(
        self, subscription: SubscriptionRef, *, resume_at: datetime | None = None
    ) -> Subscription:
        """Stop its time: nothing is billed and nothing is open until it is resumed."""
        return shown(self._env, subscription_pauses.pause(
            self._env, *self._both(subscription), resume_at=resume_at
        ))  # fmt: skip

    def resume(self, subscription: SubscriptionRef) -> Subscription:
        """Let its time run on; the period ends later by the pause."""
        return shown(self._env, subscription_pauses.resume(self._env, *self._both(subscription)))

    def set_method(
        self, subscription: SubscriptionRef, method: MethodRef | None
    ) -> Subscription:
        """Charge this method from now on; None: whichever is the default."""
        ref = None if method is None else method_ref(method)
        return shown(self._env, subscription_changes.set_method(
            self._env, *self._both(subscription), ref
        ))  # fmt: skip

    def why(self, line: str | UUID) -> Why:
        """Why a line of an invoice is as it is: its rule, inputs, and the entries in the books.
        `explain()` says it in words. Raises NotFound."""
        return flow.why(self._env, None, line)

    def _key(self, ref: SubscriptionRef) -> tuple[None, str | UUID]:
        return None, ref.id if isinstance(ref, Subscription) else ref

    def _both(self, ref: SubscriptionRef) -> tuple[UUID, UUID]:
        return subscription_changes.find(self._env, *self._key(ref))
