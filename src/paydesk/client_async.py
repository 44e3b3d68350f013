"""AsyncPaydesk: every method of Paydesk in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import psycopg

from paydesk import client_parts
from paydesk.client import Paydesk
from paydesk.client_parts import CustomerRef, PackRef
from paydesk.clock import Clock
from paydesk.delivery import Handler
from paydesk.env import Env
from paydesk.flows.customers import Customer
from paydesk.results import (
    Balance,
    Batch,
    CreditLine,
    Discount,
    Event,
    Granted,
    Listing,
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
from paydesk.settings import Settings

T = TypeVar("T")

#: Calls under way at once; more wait for a thread.
MAX_THREADS = 40


class Threads:
    """Where calls run. Context variables go with them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="paydesk-async")

    async def run(self, call: Callable[..., T], *given: Any, **named: Any) -> T:
        """The call's result, or what it raised. A cancelled wait does not stop the call."""
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._pool, lambda: context.run(call, *given, **named)
        )

    def close(self) -> None:
        self._pool.shutdown(wait=False)


class AsyncListing(Generic[T]):
    """A list that is read page by page: `async for one in ...`."""

    def __init__(self, threads: Threads, listing: Listing[T]) -> None:
        self._threads = threads
        self._listing = listing

    async def __aiter__(self) -> AsyncIterator[T]:
        found: Iterator[T | Any] = iter(self._listing)
        end: Any = object()
        while (one := await self._threads.run(lambda: next(found, end))) is not end:
            yield one

    async def first(self) -> T | None:
        """The first one, or None."""
        return await self._threads.run(self._listing.first)

    def __repr__(self) -> str:
        return "<AsyncListing: loop over it with async for>"


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
        self.events = AsyncEvents(self._threads, self.paydesk.events)

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
        """Open a checkout of a pack, a number of credits, or an amount; send the customer to
        `session.url`. The same `key` gives the same session.

        Raises InvalidPromoCode, CreditLimitExceeded, InvalidRequest and other PaydeskErrors.
        """
        return await self._threads.run(
            self.paydesk.checkout, customer, pack=pack, credits=credits, amount=amount, promo=promo,
            email=email, success_url=success_url, cancel_url=cancel_url, provider=provider,
            metadata=metadata, description=description, reference=reference, key=key,
        )  # fmt: skip

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
        cap: int | None = None,
        per_customer: int | None = None,
        min_purchase: Money | None = None,
        packs: Iterable[str | Pack] | None = None,
        first_purchase: bool = False,
        customers: Iterable[str | Customer] | None = None,
        match_metadata: Mapping[str, Any] | None = None,
        starts_at: datetime | None = None,
        expires_at: datetime | None = None,
        active: bool = True,
        metadata: Mapping[str, Any] | None = None,
    ) -> Promo:
        """Make the code, or make it so; uses so far still count."""
        return await self._threads.run(
            self._part.upsert, code, percent_off=percent_off, amount_off=amount_off,
            bonus_credits=bonus_credits, cap=cap, per_customer=per_customer,
            min_purchase=min_purchase, packs=packs, first_purchase=first_purchase,
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
        price: Money | None = None,
    ) -> Discount:
        """What the code would take off; reserves nothing. Raises InvalidPromoCode."""
        return await self._threads.run(
            self._part.validate, code, customer, pack=pack, credits=credits, price=price,
        )  # fmt: skip

    async def apply(
        self,
        code: str,
        customer: CustomerRef,
        *,
        pack: PackRef | None = None,
        credits: int | None = None,
        price: Money | None = None,
    ) -> Reservation:
        """Keep a use for the customer's next checkout of this product. Raises InvalidPromoCode."""
        return await self._threads.run(
            self._part.apply, code, customer, pack=pack, credits=credits, price=price,
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
    ) -> Customer:
        """Make the customer of the application's own id, or change what is given."""
        return await self._threads.run(
            self._part.upsert, external_id, email=email, name=name, metadata=metadata, owner=owner,
            organization=organization,
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
