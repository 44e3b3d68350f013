"""client_parts, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import client_parts
from paydesk.client_parts import CustomerRef, PackRef
from paydesk.client_threads import AsyncListing, Threads
from paydesk.flows.clocks import ClockView
from paydesk.flows.customers import Customer
from paydesk.flows.plans import Plan
from paydesk.results import (
    Balance,
    Batch,
    CreditLine,
    Discount,
    Event,
    Granted,
    Pack,
    Payment,
    Promo,
    Refunded,
    Reservation,
    Session,
    Spent,
    Transferred,
)
from paydesk.rules.money import Money


class AsyncPacks:
    """The credit packs that can be bought."""

    def __init__(self, threads: Threads, part: client_parts.Packs) -> None:
        self._threads = threads
        self._part = part

    async def upsert(
        self,
        key: str,
        *,
        name: str,
        credits: int,
        price: Money,
        expires_days: int | None = None,
        active: bool = True,
        position: int = 0,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Pack:
        """Make the pack of this key, or make it so; a set-up script can run twice."""
        return await self._threads.run(
            self._part.upsert, key, name=name, credits=credits, price=price,
            expires_days=expires_days, active=active, position=position, description=description,
            metadata=metadata,
        )  # fmt: skip

    async def get(self, pack: PackRef) -> Pack:
        """The pack. Raises NotFound."""
        return await self._threads.run(self._part.get, pack)

    def list(self, *, include_inactive: bool = False) -> AsyncListing[Pack]:
        """All packs, in the order in which they are shown."""
        return AsyncListing(self._threads, self._part.list(include_inactive=include_inactive))


class AsyncPromos:
    """Promo codes."""

    def __init__(self, threads: Threads, part: client_parts.Promos) -> None:
        self._threads = threads
        self._part = part

    async def upsert(
        self,
        code: str,
        *,
        percent_off: int | None = None,
        amount_off: Money | None = None,
        bonus_credits: int | None = None,
        free_trial_days: int | None = None,
        duration: str = 'once',
        duration_periods: int | None = None,
        cap: int | None = None,
        per_customer: int | None = None,
        min_purchase: Money | None = None,
        packs: Iterable[str | Pack] | None = None,
        plans: Iterable[str | Plan] | None = None,
        first_purchase: bool = False,
        customers: Iterable[str | Customer] | None = None,
        match_metadata: Mapping[str, Any] | None = None,
        starts_at: datetime | None = None,
        expires_at: datetime | None = None,
        active: bool = True,
        metadata: Mapping[str, Any] | None = None,
    ) -> Promo:
        """Make the code, or make it so; uses so far still count. Of a subscription a discount
        takes off the first period, `repeating` for `duration_periods`, or `forever`."""
        return await self._threads.run(
            self._part.upsert, code, percent_off=percent_off, amount_off=amount_off,
            bonus_credits=bonus_credits, free_trial_days=free_trial_days, duration=duration,
            duration_periods=duration_periods, cap=cap, per_customer=per_customer,
            min_purchase=min_purchase, packs=packs, plans=plans, first_purchase=first_purchase,
            customers=customers, match_metadata=match_metadata, starts_at=starts_at,
            expires_at=expires_at, active=active, metadata=metadata,
        )  # fmt: skip

    async def get(self, code: str | UUID | Promo) -> Promo:
        """The code's definition, by the code or its id. Raises NotFound."""
        return await self._threads.run(self._part.get, code)

    def list(
        self,
        *,
        include_inactive: bool = False,
        limit: int | None = None,
    ) -> AsyncListing[Promo]:
        """Codes, newest first."""
        return AsyncListing(self._threads, self._part.list(
            include_inactive=include_inactive, limit=limit,
        ))  # fmt: skip

    async def validate(
        self,
        code: str,
        customer: CustomerRef,
        *,
        pack: PackRef | None = None,
        credits: int | None = None,
        item: Any = None,
        quantity: int = 1,
        service: Any = None,
        plan: str | UUID | Plan | None = None,
        price: Money | None = None,
    ) -> Discount:
        """What the code would take off the price that a checkout of this would ask; reserves
        nothing. `price` is a plain amount, or that of all seats of a `plan`. Raises
        InvalidPromoCode."""
        return await self._threads.run(
            self._part.validate, code, customer, pack=pack, credits=credits, item=item,
            quantity=quantity, service=service, plan=plan, price=price,
        )  # fmt: skip

    async def apply(
        self,
        code: str,
        customer: CustomerRef,
        *,
        pack: PackRef | None = None,
        credits: int | None = None,
        item: Any = None,
        quantity: int = 1,
        service: Any = None,
        plan: str | UUID | Plan | None = None,
        price: Money | None = None,
    ) -> Reservation:
        """Keep a use for the customer's next checkout of this product, or for the next
        subscription to this `plan`. Raises InvalidPromoCode."""
        return await self._threads.run(
            self._part.apply, code, customer, pack=pack, credits=credits, item=item,
            quantity=quantity, service=service, plan=plan, price=price,
        )  # fmt: skip


class AsyncCredits:
    """Credits of customers. `pay.spend(...)` takes them."""

    def __init__(self, threads: Threads, part: client_parts.Credits) -> None:
        self._threads = threads
        self._part = part

    async def balance(self, customer: CustomerRef) -> Balance:
        """Credits that can be spent now: a number, with `by_kind` and `by_expiry`."""
        return await self._threads.run(self._part.balance, customer)

    def history(
        self,
        customer: CustomerRef,
        *,
        kind: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[CreditLine]:
        """What changed the balance, newest first. `kind`: one type, such as CREDIT_USAGE."""
        return AsyncListing(self._threads, self._part.history(customer, kind=kind, limit=limit))

    async def batches(self, customer: CustomerRef, *, include_empty: bool = False) -> list[Batch]:
        """Batches in the order in which they will be taken from."""
        return await self._threads.run(self._part.batches, customer, include_empty=include_empty)

    async def grant(
        self,
        customer: CustomerRef,
        amount: int,
        *,
        kind: str = 'promotional',
        expires_days: int | None = None,
        forever: bool = False,
        note: str | None = None,
        by: str | None = None,
        key: str | None = None,
    ) -> Granted:
        """Give credits, for `expires_days` (the setting's number of days unless told) or
        `forever`. Raises CreditLimitExceeded."""
        return await self._threads.run(
            self._part.grant, customer, amount, kind=kind, expires_days=expires_days,
            forever=forever, note=note, by=by, key=key,
        )  # fmt: skip

    async def refund(
        self,
        spend: str | Spent,
        amount: int | None = None,
        *,
        key: str | None = None,
    ) -> Refunded:
        """Give a spend back to its own batches, wholly or in part."""
        return await self._threads.run(self._part.refund, spend, amount, key=key)

    async def transfer(
        self,
        source: CustomerRef,
        target: CustomerRef,
        amount: int,
        *,
        key: str | None = None,
    ) -> Transferred:
        """Move credits between customers, where the policy allows it. Raises TransferNotAllowed."""
        return await self._threads.run(self._part.transfer, source, target, amount, key=key)


class AsyncPayments:
    """Payments, as they stand."""

    def __init__(self, threads: Threads, part: client_parts.Payments) -> None:
        self._threads = threads
        self._part = part

    async def get(self, payment: str | UUID | Payment | Session) -> Payment:
        """A payment by any id: ours, the checkout's, the provider's. Raises NotFound."""
        return await self._threads.run(self._part.get, payment)

    def list(
        self,
        *,
        customer: CustomerRef | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[Payment]:
        """Payments, newest first; everybody's without a customer."""
        return AsyncListing(self._threads, self._part.list(
            customer=customer, status=status, limit=limit,
        ))  # fmt: skip

    async def create(
        self,
        customer: CustomerRef,
        method: str,
        *,
        amount: Money | None = None,
        wallet: Money | None = None,
        pack: PackRef | None = None,
        credits: int | None = None,
        description: str | None = None,
        reference: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        return_url: str | None = None,
        key: str | None = None,
    ) -> Payment:
        """Record a pending payment of any method: stripe, cash, bank_transfer, moncash …

        Where its provider has a page, `payment_url` leads there; where a person confirms it, the
        record waits. Raises InvalidRequest for what nobody here collects.
        """
        return await self._threads.run(
            self._part.create, customer, method, amount=amount, wallet=wallet, pack=pack,
            credits=credits, description=description, reference=reference, metadata=metadata,
            return_url=return_url, key=key,
        )  # fmt: skip

    async def confirm(
        self,
        payment: str | UUID | Payment | Session,
        *,
        by: str | None = None,
    ) -> Payment:
        """Ask the provider how it stands and record it; nobody's word counts but its own. For
        cash and the like a person says so: `by`."""
        return await self._threads.run(self._part.confirm, payment, by=by)

    async def update(
        self,
        payment: str | UUID | Payment | Session,
        *,
        status: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Payment:
        """Change its words, or end it while it is pending (canceled, failed): at the provider
        first. What is not named stays. Raises UseConfirm, UseRefund, Conflict."""
        return await self._threads.run(
            self._part.update, payment, status=status, description=description, metadata=metadata,
        )  # fmt: skip

    async def remove(self, payment: str | UUID | Payment | Session) -> Payment:
        """Hide a payment that no money came for; its record stays. Raises Conflict."""
        return await self._threads.run(self._part.remove, payment)

    async def restore(self, payment: str | UUID | Payment | Session) -> Payment:
        """Show a hidden payment again."""
        return await self._threads.run(self._part.restore, payment)

    async def capture(
        self,
        payment: str | UUID | Payment | Session,
        amount: Money | None = None,
    ) -> Payment:
        """Take held money, all of it or a part; the rest is let go. Safe to repeat."""
        return await self._threads.run(self._part.capture, payment, amount)

    async def void(self, payment: str | UUID | Payment | Session) -> Payment:
        """Let held money go. Safe to repeat."""
        return await self._threads.run(self._part.void, payment)


class AsyncCustomers:
    """Customers. They are made on first use; this is for what is known about them."""

    def __init__(self, threads: Threads, part: client_parts.Customers) -> None:
        self._threads = threads
        self._part = part

    async def upsert(
        self,
        external_id: CustomerRef,
        *,
        email: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        owner: CustomerRef | None = None,
        organization: CustomerRef | None = None,
        clock: str | UUID | ClockView | None = None,
    ) -> Customer:
        """Make the customer of the application's own id, or change what is given. `clock`: one
        that is moved by hand, which a new customer stands on for good."""
        return await self._threads.run(
            self._part.upsert, external_id, email=email, name=name, metadata=metadata, owner=owner,
            organization=organization, clock=clock,
        )  # fmt: skip

    async def get(self, customer: CustomerRef) -> Customer:
        """A customer by either id. Raises NotFound."""
        return await self._threads.run(self._part.get, customer)

    def list(self, *, q: str | None = None, limit: int | None = None) -> AsyncListing[Customer]:
        """Customers, newest first. `q`: how the external id or the e-mail begins."""
        return AsyncListing(self._threads, self._part.list(q=q, limit=limit))


class AsyncEvents:
    """What happened. `pay.on(...)` is told of it as it happens."""

    def __init__(self, threads: Threads, part: client_parts.Events) -> None:
        self._threads = threads
        self._part = part

    def list(
        self,
        *,
        customer: CustomerRef | None = None,
        type: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[Event]:
        """Events, newest first; everybody's without a customer."""
        return AsyncListing(self._threads, self._part.list(
            customer=customer, type=type, limit=limit,
        ))  # fmt: skip

    async def get(self, event: str | Event) -> Event:
        """One event by its id. Raises NotFound."""
        return await self._threads.run(self._part.get, event)


class AsyncJoined:
    """Credits inside the caller's own transaction; nothing is true before the caller commits."""

    def __init__(self, threads: Threads, part: client_parts.Joined) -> None:
        self._threads = threads
        self._part = part

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
        """As `pay.spend`. The customer stays locked until the caller's transaction ends."""
        return await self._threads.run(
            self._part.spend, customer, amount, reason=reason, reference=reference,
            metadata=metadata, key=key,
        )  # fmt: skip

    async def grant(
        self,
        customer: CustomerRef,
        amount: int,
        *,
        kind: str = 'promotional',
        expires_days: int | None = None,
        forever: bool = False,
        key: str | None = None,
    ) -> Granted:
        """As `pay.credits.grant`."""
        return await self._threads.run(
            self._part.grant, customer, amount, kind=kind, expires_days=expires_days,
            forever=forever, key=key,
        )  # fmt: skip

    async def balance(self, customer: CustomerRef) -> int:
        """Credits as the caller's transaction sees them."""
        return await self._threads.run(self._part.balance, customer)
