"""The library's front for items, purchases, services and access: `pay.items`, `pay.can`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.client_parts import CustomerRef, _as_is, _Part, request_key
from paydesk.env import Env
from paydesk.errors import NotFound
from paydesk.flows import access, customers, items, purchases, services
from paydesk.flows.access import Access, GrantView
from paydesk.flows.items import Item
from paydesk.flows.items import Quote as ItemQuote
from paydesk.flows.purchases import PurchaseView
from paydesk.flows.services import ServiceView
from paydesk.results import Listing
from paydesk.rules import access as rules
from paydesk.rules.money import Money

#: An item or service on sale: its key, its id, or the object.
ItemRef = str | UUID | Item


class Items(_Part):
    """Items and services on sale."""

    def upsert(
        self,
        key: str,
        *,
        name: str,
        price: Money,
        kind: str = "item",
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
        return items.upsert(
            self._env, key, name=name, price=price, kind=kind, repeatable=repeatable,
            most_quantity=most_quantity, duration_months=duration_months,
            access_days=access_days, grants=grants, rules=rules, active=active,
            position=position, description=description, metadata=metadata,
        )  # fmt: skip

    def get(self, item: ItemRef) -> Item:
        """The item. Raises NotFound."""
        return items.get(self._env, item)

    def list(self, *, kind: str | None = None, include_inactive: bool = False) -> Listing[Item]:
        """All items, in the order in which they are shown."""

        def page(last: Item | None, n: int) -> Any:
            found = items.list_(self._env, include_inactive=include_inactive, kind=kind)
            return [] if last else found

        return Listing(page, _as_is)

    def price(self, item: ItemRef, customer: CustomerRef, *, quantity: int = 1) -> ItemQuote:
        """What so many cost this customer now: by the item's rules, then by your own function."""
        return items.quote(self._env, item, customers.ensure(self._env, customer), quantity)

    def deactivate(self, item: ItemRef) -> Item:
        """Sell it no more; what was sold stays. Raises NotFound."""
        return items.deactivate(self._env, item)


class Purchases(_Part):
    """What customers bought of items."""

    def list(
        self,
        customer: CustomerRef | None = None,
        *,
        status: str | None = None,
        limit: int | None = None,
    ) -> Listing[PurchaseView]:
        """Purchases, newest first; everybody's without a customer."""

        def page(last: PurchaseView | None, n: int) -> Any:
            who = None if customer is None else customers.resolve(self._env, customer)
            return purchases.list_(
                self._env, who, state=status, limit=n, after=last.id if last else None
            )

        return Listing(page, _as_is, limit)

    def get(self, purchase: str | UUID) -> PurchaseView:
        """One purchase, by its id or its payment's. Raises NotFound."""
        return purchases.get(self._env, None, purchase)


class Services(_Part):
    """Services that customers have for some months."""

    def list(
        self,
        customer: CustomerRef | None = None,
        *,
        status: str | None = None,
        limit: int | None = None,
    ) -> Listing[ServiceView]:
        """Services, newest first; everybody's without a customer."""

        def page(last: ServiceView | None, n: int) -> Any:
            who = None if customer is None else customers.resolve(self._env, customer)
            return services.list_(
                self._env, who, state=status, limit=n, after=last.id if last else None
            )

        return Listing(page, _as_is, limit)

    def get(self, service: str | UUID) -> ServiceView:
        """One service. Raises NotFound."""
        return services.get(self._env, None, service)


class AccessGrants(_Part):
    """What purchases, services and people gave access to. `pay.can(...)` asks."""

    def grant(
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
        return access.grant(
            self._env, customers.ensure(self._env, customer).uuid, resource, by=by, days=days,
            expires_at=expires_at, reason=reason, request_key=request_key(key),
        )  # fmt: skip

    def revoke(
        self, grant: str | UUID | GrantView, *, by: str, reason: str | None = None
    ) -> GrantView:
        """Take a grant away for good. Raises NotFound, Conflict where it holds no more."""
        uuid = grant.id if isinstance(grant, GrantView) else grant
        uuid = ids.parse("access", uuid) if isinstance(uuid, str) else uuid
        return access.revoke(self._env, ids.customer_of(uuid), uuid, by=by, reason=reason)

    def list(
        self, customer: CustomerRef, *, active: bool | None = None, limit: int | None = None
    ) -> Listing[GrantView]:
        """A customer's grants, newest first. `active`: only those that hold now, or the others."""

        def page(last: GrantView | None, n: int) -> Any:
            return access.list_(
                self._env, customers.resolve(self._env, customer), active=active, limit=n,
                after=last.id if last else None,
            )  # fmt: skip

        return Listing(page, _as_is, limit)


def can(env: Env, customer: CustomerRef, resource: str, at: datetime | None) -> Access:
    """Whether a customer may; one who is not known here has bought nothing."""
    kind, name = rules.parse(resource)
    try:
        customer_id = customers.resolve(env, customer, create=False)
    except NotFound:
        named = customer if isinstance(customer, str) else None
        return access.shaped(env, named, kind, name, rules.Verdict(reason="not_purchased"))
    return access.can(env, customer_id, resource, at)
