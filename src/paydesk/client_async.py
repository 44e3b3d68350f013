"""AsyncPaydesk: every method of Paydesk in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from paydesk.client import Paydesk
from paydesk.client_analytics_async import AsyncAnalytics
from paydesk.client_catalog_async import AsyncCatalog
from paydesk.client_clocks_async import AsyncClocks
from paydesk.client_disputes_async import AsyncDisputes, AsyncReconciliations
from paydesk.client_goods import ItemRef
from paydesk.client_goods_async import AsyncAccessGrants, AsyncItems, AsyncPurchases, AsyncServices
from paydesk.client_invoices_async import AsyncCreditNotes, AsyncInvoices
from paydesk.client_methods import MethodRef
from paydesk.client_methods_async import AsyncMethods, AsyncSetups
from paydesk.client_parts import CustomerRef, PackRef
from paydesk.client_parts_async import (
    AsyncCredits,
    AsyncCustomers,
    AsyncEvents,
    AsyncJoined,
    AsyncPacks,
    AsyncPayments,
    AsyncPromos,
)
from paydesk.client_plans import PlanRef
from paydesk.client_plans_async import AsyncPlans, AsyncTaxRates
from paydesk.client_refills_async import AsyncRefills
from paydesk.client_refunds import PaymentRef, Refund
from paydesk.client_refunds_async import AsyncRefunds
from paydesk.client_subscriptions import NewPreview, Subscription
from paydesk.client_subscriptions_async import AsyncSubscriptions
from paydesk.client_threads import AsyncHold, Threads
from paydesk.client_wallets_async import AsyncHolds, AsyncRates, AsyncWallets
from paydesk.clock import Clock
from paydesk.delivery import Handler
from paydesk.env import Env
from paydesk.flows.access import Access
from paydesk.flows.items import PriceHook
from paydesk.results import Payment, Session, Spent
from paydesk.rules.money import Money
from paydesk.settings import Settings


class AsyncPaydesk:
    """Paydesk for asynchronous applications: the same methods, each in a worker thread.

    `paydesk` is the synchronous object under it, for code that runs in threads anyway.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        env: Env | None = None,
        background: bool = True,
        paydesk: Paydesk | None = None,
        **overrides: Any,
    ) -> None:
        """As Paydesk, or around one. Nothing is opened before the first use."""
        self.paydesk = paydesk or Paydesk(
            settings, clock=clock, env=env, background=background, **overrides
        )
        self._threads = Threads()
        self.packs = AsyncPacks(self._threads, self.paydesk.packs)
        self.promos = AsyncPromos(self._threads, self.paydesk.promos)
        self.credits = AsyncCredits(self._threads, self.paydesk.credits)
        self.payments = AsyncPayments(self._threads, self.paydesk.payments)
        self.customers = AsyncCustomers(self._threads, self.paydesk.customers)
        self.clocks = AsyncClocks(self._threads, self.paydesk.clocks)
        self.events = AsyncEvents(self._threads, self.paydesk.events)
        self.items = AsyncItems(self._threads, self.paydesk.items)
        self.plans = AsyncPlans(self._threads, self.paydesk.plans)
        self.tax_rates = AsyncTaxRates(self._threads, self.paydesk.tax_rates)
        self.subscriptions = AsyncSubscriptions(self._threads, self.paydesk.subscriptions)
        self.purchases = AsyncPurchases(self._threads, self.paydesk.purchases)
        self.services = AsyncServices(self._threads, self.paydesk.services)
        self.access = AsyncAccessGrants(self._threads, self.paydesk.access)
        self.wallets = AsyncWallets(self._threads, self.paydesk.wallets)
        self.rates = AsyncRates(self._threads, self.paydesk.rates)
        self.holds = AsyncHolds(self._threads, self.paydesk.holds)
        self.refunds = AsyncRefunds(self._threads, self.paydesk.refunds)
        self.refills = AsyncRefills(self._threads, self.paydesk.refills)
        self.invoices = AsyncInvoices(self._threads, self.paydesk.invoices)
        self.credit_notes = AsyncCreditNotes(self._threads, self.paydesk.credit_notes)
        self.analytics = AsyncAnalytics(self._threads, self.paydesk.analytics)
        self.methods = AsyncMethods(self._threads, self.paydesk.methods)
        self.catalog = AsyncCatalog(self._threads, self.paydesk.catalog)
        self.setups = AsyncSetups(self._threads, self.paydesk.setups)
        self.disputes = AsyncDisputes(self._threads, self.paydesk.disputes)
        self.reconciliations = AsyncReconciliations(self._threads, self.paydesk.reconciliations)

    @property
    def env(self) -> Env:
        """Everything with side effects; opened by the first use, in the calling thread."""
        return self.paydesk.env

    async def open(self) -> None:
        """Open now what the first use would open; handlers run in this event loop from now on."""
        self.paydesk.delivery.loop = asyncio.get_running_loop()
        await self._threads.run(self.paydesk.open)

    async def close(self) -> None:
        """End handlers and everything that was started. A later use opens anew."""
        await self._threads.run(self.paydesk.close)
        self.paydesk.delivery.loop = None

    async def __aenter__(self) -> AsyncPaydesk:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Async{repr(self.paydesk)[1:]}"

    async def checkout(
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
        return await self._threads.run(
            self.paydesk.checkout, customer, pack=pack, credits=credits, amount=amount, item=item,
            quantity=quantity, service=service, wallet=wallet, promo=promo, email=email,
            success_url=success_url, cancel_url=cancel_url, provider=provider, metadata=metadata,
            description=description, reference=reference, key=key,
        )  # fmt: skip

    async def charge(
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
        return await self._threads.run(
            self.paydesk.charge, customer, method=method, pack=pack, credits=credits, amount=amount,
            item=item, quantity=quantity, service=service, wallet=wallet, promo=promo,
            off_session=off_session, capture=capture, return_url=return_url, provider=provider,
            metadata=metadata, description=description, reference=reference, payable=payable,
            key=key,
        )  # fmt: skip

    async def subscribe(
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
        runner: str = 'paydesk',
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
        return await self._threads.run(
            self.paydesk.subscribe, customer, plan, quantity=quantity, currency=currency,
            promo=promo, trial_days=trial_days, method=method, hosted=hosted, provider=provider,
            runner=runner, success_url=success_url, cancel_url=cancel_url, zone=zone,
            metadata=metadata, expect=expect, key=key,
        )  # fmt: skip

    async def refund(
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
        return await self._threads.run(
            self.paydesk.refund, payment, amount, reason=reason, note=note, by=by, force=force,
            metadata=metadata, key=key,
        )  # fmt: skip

    async def can(
        self,
        customer: CustomerRef,
        resource: str,
        *,
        at: datetime | None = None,
    ) -> Access:
        """Whether the customer has access to `course:python`, now or at an instant.

        True or false, with `reason` (granted, not_purchased, expired, revoked, not_yet; past_due or
        unpaid where the subscription that gave it owes), `source`, `expires_at` and, where there is
        none, `offer_url`.
        """
        return await self._threads.run(self.paydesk.can, customer, resource, at=at)

    def price_item(self, hook: PriceHook) -> PriceHook:
        """Decorator: ask this function what an item costs, after its rules, for every price and
        order of this object. It gets (item, quantity, customer, price) and answers Money above
        zero in the item's currency, or None to leave the price; the purchase records what it
        set."""
        return self.paydesk.price_item(hook)

    async def verify(self, session: str | UUID | Session | Payment) -> Session:
        """Ask the provider how it stands and hand over what was paid; safe to call twice."""
        return await self._threads.run(self.paydesk.verify, session)

    async def spend(
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
        return await self._threads.run(
            self.paydesk.spend, customer, amount, reason=reason, reference=reference,
            metadata=metadata, key=key,
        )  # fmt: skip

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
    ) -> AsyncHold:
        """Set credits, or money of a wallet, aside now; use it as a `with` block and capture what
        was used. The rest, or all of it where the block fails, is released.

        Raises InsufficientCredits or InsufficientFunds. The same `key` is the same hold.
        """
        return AsyncHold(self._threads, lambda: self.paydesk.hold(
            customer, up_to, reason=reason, reference=reference, minutes=minutes, metadata=metadata,
            key=key,
        ))  # fmt: skip

    def using(self, conn: psycopg.Connection[Any]) -> AsyncJoined:
        """Spend and grant inside the caller's own open transaction (READ COMMITTED): both become
        true with the caller's commit, or neither."""
        return AsyncJoined(self._threads, self.paydesk.using(conn))

    def on(self, *types: str) -> Callable[[Handler], Handler]:
        """Decorator: call the function with every event of these types, at least once, after the
        commit. Functions may be `async def`."""
        return self.paydesk.on(*types)

    async def deliver(self) -> int:
        """Hand on now what is due to handlers; answers how many events were handled."""
        return await self._threads.run(self.paydesk.deliver)
