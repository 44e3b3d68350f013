"""The library's front for refills: `pay.refills`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.client_methods import MethodRef, method_ref
from paydesk.client_parts import CustomerRef, PackRef, _Part
from paydesk.flows import customers, refills
from paydesk.flows.refills import RefillView, SetRefill
from paydesk.results import Listing
from paydesk.rules.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Refill:
    """A refill. `status`: active, paused (`pause_reason`: failures, payment_method, stopped) or
    off. `threshold` is credits, or Money of the wallet; one of `pack`, `credits` and `wallet` is
    bought. `refills`: how many were begun; `payment`: the one under way."""

    id: str
    customer: str
    status: str
    threshold: int | Money
    pack: str | None
    credits: int | None
    wallet: Money | None
    method: str | None
    day_count: int
    month_count: int
    pause_after: int
    pause_reason: str | None
    failures: int
    error_code: str | None
    refills: int
    payment: str | None
    retry_at: datetime | None
    last_refill_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, one: RefillView) -> Refill:
        def money(minor: int) -> Money:
            return Money(minor, one.asset, minor=True)

        return cls(
            id=ids.show("refill", one.id), customer=ids.show("customer", one.customer_id),
            status=one.state, threshold=money(one.threshold) if one.currency else one.threshold,
            pack=one.pack, credits=one.credits,
            wallet=money(one.amount_minor) if one.amount_minor else None,
            method=ids.show("method", one.method_id) if one.method_id else None,
            day_count=one.day_count, month_count=one.month_count, pause_after=one.pause_after,
            pause_reason=one.pause_reason, failures=one.failures, error_code=one.error_code,
            refills=one.number, retry_at=one.retry_at, last_refill_at=one.last_at,
            payment=ids.show("payment", one.payment_id) if one.payment_id else None,
            created_at=one.created_at,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Refill {self.id} {self.status}>"


#: A refill: its id, or the object.
RefillRef = str | UUID | Refill


class Refills(_Part):
    """Credits and wallets that a saved method fills again when little is left."""

    def set(
        self,
        customer: CustomerRef,
        *,
        threshold: int | Money,
        pack: PackRef | None = None,
        credits: int | None = None,
        wallet: Money | None = None,
        method: MethodRef | None = None,
        day_count: int = 3,
        month_count: int = 20,
        day_amount: Money | None = None,
        month_amount: Money | None = None,
        pause_after: int = 3,
    ) -> Refill:
        """Buy a pack, so many credits, or money for a wallet whenever less than `threshold` is
        left; the same again changes it, and one that had paused goes on.

        Limits count refills and money of a day and of a month (UTC). Raises NotFound,
        PaymentMethodNotUsable where there is no method to charge, InvalidRequest.
        """
        what: dict[str, Any] = {"pack": pack, "credits": credits, "wallet": wallet}
        return Refill.of(refills.set_(self._env, SetRefill(
            customer_id=customers.resolve(self._env, customer), threshold=threshold,
            method=None if method is None else method_ref(method), day_count=day_count,
            month_count=month_count, day_amount=day_amount, month_amount=month_amount,
            pause_after=pause_after, **what,
        )))  # fmt: skip

    def get(self, refill: RefillRef) -> Refill:
        """A refill as it stands. Raises NotFound."""
        return Refill.of(refills.get(self._env, None, _id_of(refill)))

    def list(
        self,
        customer: CustomerRef | None = None,
        *,
        status: str | None = None,
        limit: int | None = None,
    ) -> Listing[Refill]:
        """Refills, newest first; everybody's without a customer."""

        def page(last: Any, n: int) -> Any:
            who = None if customer is None else customers.resolve(self._env, customer)
            after = last.id if last else None
            return refills.list_(self._env, who, state=status, limit=n, after=after)

        return Listing(page, Refill.of, limit)

    def off(self, refill: RefillRef) -> Refill:
        """Buy nothing more; a payment that is under way is finished. Raises NotFound."""
        return Refill.of(refills.off(self._env, None, _id_of(refill)))


def _id_of(refill: RefillRef) -> str | UUID:
    return refill.id if isinstance(refill, Refill) else refill
