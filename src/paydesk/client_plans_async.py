"""client_plans, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from paydesk import client_plans
from paydesk.client_plans import PlanRef
from paydesk.client_threads import AsyncListing, Threads
from paydesk.flows.plans import Plan, Terms
from paydesk.rules.money import Money
from paydesk.rules.taxes import Rate as TaxRate


class AsyncPlans:
    """Plans and memberships on sale."""

    def __init__(self, threads: Threads, part: client_plans.Plans) -> None:
        self._threads = threads
        self._part = part

    async def upsert(
        self,
        key: str,
        *,
        name: str | None = None,
        price: Money | str | None = None,
        prices: Iterable[Money] | None = None,
        interval: str | None = None,
        interval_count: int | None = None,
        kind: str = 'plan',
        family: str | None = None,
        billing: str = 'anniversary',
        trial_days: int = 0,
        trial_needs_method: bool = True,
        grants: Sequence[str | Mapping[str, Any]] | None = None,
        credits: int = 0,
        credits_rollover: str = 'none',
        credits_cap: int | None = None,
        least_quantity: int = 1,
        most_quantity: int | None = None,
        upgrade: str = 'seconds',
        downgrade: str = 'seconds',
        upgrade_when: str = 'now',
        downgrade_when: str = 'period_end',
        dunning: Mapping[str, Any] | None = None,
        grace_days: int = 7,
        product: str = '',
        active: bool = True,
        public: bool = True,
        position: int = 0,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Plan:
        """Make the plan of this key, or make it so. Changed terms become its next version;
        subscriptions keep the version of the day on which they began.

        `price` is Money for one `interval` (a month), or a text that says both, such as
        "19.00 USD/month" or "50.00 USD/3 months". Without a name it is made of the key.
        `grants` are resources such as `course:*`; without any a plan opens the whole platform.
        `credits` are given each month. `upgrade` and `downgrade` say how the rest of a period
        counts: by `seconds`, by whole `days`, in `full`, or not at all (`none`).
        """
        return await self._threads.run(
            self._part.upsert, key, name=name, price=price, prices=prices, interval=interval,
            interval_count=interval_count, kind=kind, family=family, billing=billing,
            trial_days=trial_days, trial_needs_method=trial_needs_method, grants=grants,
            credits=credits, credits_rollover=credits_rollover, credits_cap=credits_cap,
            least_quantity=least_quantity, most_quantity=most_quantity, upgrade=upgrade,
            downgrade=downgrade, upgrade_when=upgrade_when, downgrade_when=downgrade_when,
            dunning=dunning, grace_days=grace_days, product=product, active=active, public=public,
            position=position, description=description, metadata=metadata,
        )  # fmt: skip

    async def get(self, plan: PlanRef) -> Plan:
        """The plan with the terms that are sold now. Raises NotFound."""
        return await self._threads.run(self._part.get, plan)

    def list(
        self,
        *,
        kind: str | None = None,
        public_only: bool = False,
        include_inactive: bool = False,
    ) -> AsyncListing[Plan]:
        """All plans, in the order in which they are shown. `kind`: plan or membership."""
        return AsyncListing(self._threads, self._part.list(
            kind=kind, public_only=public_only, include_inactive=include_inactive,
        ))  # fmt: skip

    async def versions(self, plan: PlanRef) -> list[Terms]:
        """All terms that the plan ever had, the newest first. Raises NotFound."""
        return await self._threads.run(self._part.versions, plan)

    async def archive(self, plan: PlanRef) -> Plan:
        """Sell it no more; subscriptions to it run on. Raises NotFound."""
        return await self._threads.run(self._part.archive, plan)


class AsyncTaxRates:
    """Tax rates by country and product."""

    def __init__(self, threads: Threads, part: client_plans.TaxRates) -> None:
        self._threads = threads
        self._part = part

    async def add(
        self,
        name: str,
        percent: str | int | Decimal,
        *,
        country: str = '',
        product: str = '',
        inclusive: bool = False,
        valid_from: datetime | None = None,
        by: str | None = None,
    ) -> TaxRate:
        """Enter a rate that holds from `valid_from` (now) until the next of its name, country and
        product begins. Without a country it is for everywhere else, without a product for
        everything else. `inclusive`: prices have the tax in them."""
        return await self._threads.run(
            self._part.add, name, percent, country=country, product=product, inclusive=inclusive,
            valid_from=valid_from, by=by,
        )  # fmt: skip

    def list(
        self,
        *,
        country: str | None = None,
        product: str | None = None,
        include_inactive: bool = False,
    ) -> AsyncListing[TaxRate]:
        """All rates, by country, product and name; of each the newest first."""
        return AsyncListing(self._threads, self._part.list(
            country=country, product=product, include_inactive=include_inactive,
        ))  # fmt: skip

    async def deactivate(self, tax_rate: str | UUID | TaxRate) -> TaxRate:
        """Take back a rate that was entered wrongly. Raises NotFound."""
        return await self._threads.run(self._part.deactivate, tax_rate)
