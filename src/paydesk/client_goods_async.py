"""client_goods, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import client_goods
from paydesk.client_goods import ItemRef
from paydesk.client_parts import CustomerRef
from paydesk.client_threads import AsyncListing, Threads
from paydesk.flows.access import GrantView
from paydesk.flows.items import Item
from paydesk.flows.items import Quote as ItemQuote
from paydesk.flows.purchases import PurchaseView
from paydesk.flows.services import ServiceView
from paydesk.rules.money import Money


class AsyncItems:
    """Items and services on sale."""

    def __init__(self, threads: Threads, part: client_goods.Items) -> None:
        self._threads = threads
        self._part = part

    async def upsert(
        self,
        key: str,
        *,
        name: str,
        price: Money,
        kind: str = 'item',
        repeatable: bool = False,
        most_quantity: int | None = None,
        duration_months: int | None = None,
        access_days: int | None = None,
        grants: Sequence[str | Mapping[str, Any]] | None = None,
        rules: Sequence[Mapping[str, Any]] | None = None,
        active: bool = True,
        position: int = 0,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Item:
        """Make the item of this key, or make it so. `kind` service runs for `duration_months`.

        `grants` are resources such as `course:python`, `course:*` or `platform`, or
        {type, id, days}. `rules` price it by customer, quantity and time, each with one of
        unit_price, percent_off and amount_off.
        """
        return await self._threads.run(
            self._part.upsert, key, name=name, price=price, kind=kind, repeatable=repeatable,
            most_quantity=most_quantity, duration_months=duration_months, access_days=access_days,
            grants=grants, rules=rules, active=active, position=position, description=description,
            metadata=metadata,
        )  # fmt: skip

    async def get(self, item: ItemRef) -> Item:
        """The item. Raises NotFound."""
        return await self._threads.run(self._part.get, item)

    def list(
        self,
        *,
        kind: str | None = None,
        include_inactive: bool = False,
    ) -> AsyncListing[Item]:
        """All items, in the order in which they are shown."""
        return AsyncListing(self._threads, self._part.list(
            kind=kind, include_inactive=include_inactive,
        ))  # fmt: skip

    async def price(self, item: ItemRef, customer: CustomerRef, *, quantity: int = 1) -> ItemQuote:
        """What so many cost this customer now: by the item's rules, then by your own function."""
        return await self._threads.run(self._part.price, item, customer, quantity=quantity)

    async def deactivate(self, item: ItemRef) -> Item:
        """Sell it no more; what was sold stays. Raises NotFound."""
        return await self._threads.run(self._part.deactivate, item)


class AsyncPurchases:
    """What customers bought of items."""

    def __init__(self, threads: Threads, part: client_goods.Purchases) -> None:
        self._threads = threads
        self._part = part

    def list(
        self,
        customer: CustomerRef | None = None,
        *,
        status: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[PurchaseView]:
        """Purchases, newest first; everybody's without a customer."""
        return AsyncListing(self._threads, self._part.list(customer, status=status, limit=limit))

    async def get(self, purchase: str | UUID) -> PurchaseView:
        """One purchase, by its id or its payment's. Raises NotFound."""
        return await self._threads.run(self._part.get, purchase)


class AsyncServices:
    """Services that customers have for some months."""

    def __init__(self, threads: Threads, part: client_goods.Services) -> None:
        self._threads = threads
        self._part = part

    def list(
        self,
        customer: CustomerRef | None = None,
        *,
        status: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[ServiceView]:
        """Services, newest first; everybody's without a customer."""
        return AsyncListing(self._threads, self._part.list(customer, status=status, limit=limit))

    async def get(self, service: str | UUID) -> ServiceView:
        """One service. Raises NotFound."""
        return await self._threads.run(self._part.get, service)


class AsyncAccessGrants:
    """What purchases, services and people gave access to. `pay.can(...)` asks."""

    def __init__(self, threads: Threads, part: client_goods.AccessGrants) -> None:
        self._threads = threads
        self._part = part

    async def grant(
        self,
        customer: CustomerRef,
        resource: str,
        *,
        by: str,
        days: int | None = None,
        expires_at: datetime | None = None,
        reason: str | None = None,
        key: str | None = None,
    ) -> GrantView:
        """Give access to `course:python`, for so many days or for ever; `by` names who does."""
        return await self._threads.run(
            self._part.grant, customer, resource, by=by, days=days, expires_at=expires_at,
            reason=reason, key=key,
        )  # fmt: skip

    async def revoke(
        self,
        grant: str | UUID | GrantView,
        *,
        by: str,
        reason: str | None = None,
    ) -> GrantView:
        """Take a grant away for good. Raises NotFound, Conflict where it holds no more."""
        return await self._threads.run(self._part.revoke, grant, by=by, reason=reason)

    def list(
        self,
        customer: CustomerRef,
        *,
        active: bool | None = None,
        limit: int | None = None,
    ) -> AsyncListing[GrantView]:
        """A customer's grants, newest first. `active`: only those that hold now, or the others."""
        return AsyncListing(self._threads, self._part.list(customer, active=active, limit=limit))
