"""Paydesk, the library's front: thin over flows, in plain synchronous calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from paydesk.assemble import build_env
from paydesk.client_analytics import Analytics
from paydesk.client_catalog import Catalog
from paydesk.client_clocks import Clocks
from paydesk.client_disputes import Disputes, Reconciliations
from paydesk.client_goods import AccessGrants, ItemRef, Items, Purchases, Services, can
from paydesk.client_invoices import CreditNotes, Invoices
from paydesk.client_methods import MethodRef, Methods, Setups, method_ref
from paydesk.client_parts import (
    Credits,
    CustomerRef,
    Customers,
    Events,
    Joined,
    PackRef,
    Packs,
    Payments,
    Promos,
    id_of,
    request_key,
    spent,
)
from paydesk.client_plans import PlanRef, Plans, TaxRates
from paydesk.client_refills import Refills
from paydesk.client_refunds import PaymentRef, Refund, Refunds
from paydesk.client_subscriptions import NewPreview, Subscription, Subscriptions, subscribe
from paydesk.client_wallets import Hold, Holds, Rates, Wallets, begin_hold
from paydesk.clock import Clock
from paydesk.delivery import Delivery, Handler
from paydesk.env import Env, Hooks
from paydesk.flows import checkout, customers, direct
from paydesk.flows import credits as credit_flows
from paydesk.flows.access import Access
from paydesk.flows.items import PriceHook
from paydesk.results import Payment, Session, Spent
from paydesk.rules.money import Money
from paydesk.settings import Settings, load

__all__ = ["CustomerRef", "PackRef", "Paydesk"]


class Paydesk:
    """The desk. Settings come from the environment; with none at all it is a sandbox.

    Opens on first use: an embedded PostgreSQL and a simulator of Stripe under `data_dir` where
    no other is named. `close()`, or leaving the `with` block, ends what was started. One object
    serves all threads of a process.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        env: Env | None = None,
        background: bool = True,
        **overrides: Any,
    ) -> None:
        """`overrides` are single settings. `background`: run handlers in a thread once there are
        some; without it `deliver()` runs them. `env`: stand on one that others opened."""
        self._settings = settings
        self._overrides = overrides
        self._clock = clock
        self._given = env
        self._opened = env
        self._hooks = env.hooks if env is not None else Hooks()
        self._background = background
        self._lock = threading.RLock()
        self.delivery = Delivery(self._open)
        self.packs = Packs(self._open)
        self.promos = Promos(self._open)
        self.credits = Credits(self._open)
        self.payments = Payments(self._open)
        self.customers = Customers(self._open)
        self.clocks = Clocks(self._open)
        self.events = Events(self._open)
        self.items = Items(self._open)
        self.plans = Plans(self._open)
        self.tax_rates = TaxRates(self._open)
        self.subscriptions = Subscriptions(self._open)
        self.purchases = Purchases(self._open)
        self.services = Services(self._open)
        self.access = AccessGrants(self._open)
        self.wallets = Wallets(self._open)
        self.rates = Rates(self._open)
        self.holds = Holds(self._open)
        self.refunds = Refunds(self._open)
        self.refills = Refills(self._open)
        self.invoices = Invoices(self._open)
        self.credit_notes = CreditNotes(self._open)
        self.analytics = Analytics(self._open)
        self.methods = Methods(self._open)
        self.catalog = Catalog(self._open)
        self.setups = Setups(self._open)
        self.disputes = Disputes(self._open)
        self.reconciliations = Reconciliations(self._open)

    @property
    def env(self) -> Env:
        """Everything with side effects; opened by the first use."""
        return self._open()

    def _open(self) -> Env:
        if self._opened is None:
            with self._lock:
                if self._opened is None:
                    made = build_env(self._read_settings(), clock=self._clock)
                    self._opened = replace(made, hooks=self._hooks)
                    self._start_handlers()
        return self._opened

    def checkout(
        self,
        customer: CustomerRef,
        *,
        pack: PackRef | None = None,
        credits: int | None = None,
        amount: Money | None = None,
        item: ItemRef | None = None,
        quantity: int = 1,
        service: ItemRef | None = None,
        wallet: Money | None = None,
        promo: str | None = None,
        email: str | None = None,
        success_url: str | None = None,
        cancel_url: str | None = None,
        provider: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        description: str | None = None,
        reference: str | None = None,
        key: str | None = None,
    ) -> Session:
        """Open a checkout of a pack, a number of credits, an item, a service, money for the
        `wallet`, or an amount; send the customer to `session.url`. The same `key` gives the same
        session.

        Raises InvalidPromoCode, CreditLimitExceeded, AlreadyPurchased, PaymentInFlight,
        InvalidRequest and other PaydeskErrors.
        """
        who = customers.ensure(self.env, customer, email=email)
        wanted = checkout.StartCheckout(
            customer_id=who.uuid, pack=pack, credits=credits, amount=amount, item=item,
            quantity=quantity, service=service, wallet=wallet,
            promo=promo, email=email or who.email, provider=provider, success_url=success_url,
            cancel_url=cancel_url, metadata=metadata or {}, description=description,
            reference=reference, request_key=request_key(key),
        )  # fmt: skip
        return self._session(checkout.start(self.env, wanted))

    def charge(
        self,
        customer: CustomerRef,
        *,
        method: MethodRef | None = None,
        pack: PackRef | None = None,
        credits: int | None = None,
        amount: Money | None = None,
        item: ItemRef | None = None,
        quantity: int = 1,
        service: ItemRef | None = None,
        wallet: Money | None = None,
        promo: str | None = None,
        off_session: bool = False,
        capture: bool = True,
        return_url: str | None = None,
        provider: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        description: str | None = None,
        reference: str | None = None,
        payable: str | None = None,
        key: str | None = None,
    ) -> Payment:
        """Charge a saved method (the default one), or a provider's token, without a page.

        The payment is succeeded, authorized (without `capture`), requires_action with an
        `action_url`, processing, or failed with its `error_code`. The same `key` charges once.
        """
        who = customers.ensure(self.env, customer)
        return Payment.of(direct.process(self.env, direct.NewPayment(
            customer_id=who.uuid, method=None if method is None else method_ref(method),
            pack=pack, credits=credits, amount=amount, item=item, quantity=quantity,
            service=service, wallet=wallet, promo=promo,
            off_session=off_session, capture=capture, return_url=return_url, provider=provider,
            email=who.email, metadata=metadata or {}, description=description,
            reference=reference, payable=payable, request_key=request_key(key),
        )))  # fmt: skip

    def subscribe(
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
        success_url: str | None = None,
        cancel_url: str | None = None,
        zone: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expect: NewPreview | str | None = None,
        key: str | None = None,
    ) -> Subscription:
        """Subscribe to a plan. A saved method is charged at once; without one, or with `hosted`,
        send the customer to `url`, where it is paid or, before a trial, a method is saved.
        `runner`: who bills it from then on, this desk, or with "provider" the provider, always
        begun on its page. With `expect`, a preview of the last hour (`subscriptions.preview_new`),
        it is refused where it would cost another sum by now.

        The same `key` subscribes once. Raises SubscriptionAlreadyActive, InvalidPromoCode,
        InvalidRequest, NotSupported, PaymentMethodNotUsable, PreviewOutdated and other
        PaydeskErrors.
        """
        return subscribe(
            self.env, customer, plan, quantity=quantity, currency=currency, promo=promo,
            trial_days=trial_days, method=method, hosted=hosted, provider=provider, runner=runner,
            success_url=success_url, cancel_url=cancel_url, zone=zone, metadata=metadata,
            expect=expect, key=key,
        )  # fmt: skip

    def refund(
        self,
        payment: PaymentRef,
        amount: Money | None = None,
        *,
        reason: str | None = None,
        note: str | None = None,
        by: str | None = None,
        force: bool = False,
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Refund:
        """Give a payment back, wholly (all that is left) or in part; its goods go with it. As
        `refunds.create`."""
        return self.refunds.create(
            payment, amount, reason=reason, note=note, by=by, force=force, metadata=metadata,
            key=key,
        )

    def can(
        self, customer: CustomerRef, resource: str, *, at: datetime | None = None
    ) -> Access:
        """Whether the customer has access to `course:python`, now or at an instant.

        True or false, with `reason` (granted, not_purchased, expired, revoked, not_yet; past_due or
        unpaid where the subscription that gave it owes), `source`, `expires_at` and, where there is
        none, `offer_url`.
        """
        return can(self.env, customer, resource, at)

    def price_item(self, hook: PriceHook) -> PriceHook:
        """Decorator: ask this function what an item costs, after its rules, for every price and
        order of this object. It gets (item, quantity, customer, price) and answers Money above
        zero in the item's currency, or None to leave the price; the purchase records what it
        set."""
        self._hooks.price_item = hook
        return hook

    def verify(self, session: str | UUID | Session | Payment) -> Session:
        """Ask the provider how it stands and hand over what was paid; safe to call twice."""
        return self._session(checkout.verify(self.env, id_of(session), path="verify"))

    def spend(
        self,
        customer: CustomerRef,
        amount: int,
        *,
        reason: str | None = None,
        reference: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Spent:
        """Take credits, oldest batch first; the same `key` is the same spend.

        Raises InsufficientCredits with `needed`, `balance` and `top_up_url`.
        """
        item = credit_flows.new_spend(
            customers.resolve(self.env, customer), amount, reason, reference=reference,
            metadata=metadata, request_key=request_key(key),
        )  # fmt: skip
        return spent(self.env, item, credit_flows.spend_now(self.env, item))

    def hold(
        self,
        customer: CustomerRef,
        up_to: int | Money,
        *,
        reason: str | None = None,
        reference: str | None = None,
        minutes: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Hold:
        """Set credits, or money of a wallet, aside now; use it as a `with` block and capture what
        was used. The rest, or all of it where the block fails, is released.

        Raises InsufficientCredits or InsufficientFunds. The same `key` is the same hold.
        """
        return begin_hold(
            self.env, customer, up_to, reason=reason, reference=reference, minutes=minutes,
            metadata=metadata, key=key,
        )  # fmt: skip

    def using(self, conn: psycopg.Connection[Any]) -> Joined:
        """Spend and grant inside the caller's own open transaction (READ COMMITTED): both become
        true with the caller's commit, or neither."""
        return Joined(self._open, conn)

    def on(self, *types: str) -> Callable[[Handler], Handler]:
        """Decorator: call the function with every event of these types, at least once, after the
        commit. Functions may be `async def`."""
        add = self.delivery.on(*types)

        def started(handler: Handler) -> Handler:
            add(handler)
            if self._opened is not None:
                self._start_handlers()
            return handler

        return started

    def deliver(self) -> int:
        """Hand on now what is due to handlers; answers how many events were handled."""
        return self.delivery.run_once()

    def open(self) -> None:
        """Open now what the first use would open."""
        assert self.env is not None

    def close(self) -> None:
        """End handlers and everything that was started. A later use opens anew."""
        self.delivery.stop()
        with self._lock:
            opened, self._opened = self._opened, self._given
        if opened is not None and self._given is None:
            opened.close()

    def __enter__(self) -> Paydesk:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "not opened" if self._opened is None else "open"
        return f"<Paydesk {state}>"

    def _read_settings(self) -> Settings:
        if self._settings is not None:
            return replace(self._settings, **self._overrides)
        return load(self._overrides).settings

    def _start_handlers(self) -> None:
        if self.delivery.has_handlers:
            self.delivery.register()
            if self._background:
                self.delivery.start()

    def _session(self, view: checkout.CheckoutView) -> Session:
        return Session.of(view, is_served=bool(self.env.settings.public_url))
