"""client_refills, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from paydesk import client_refills
from paydesk.client_methods import MethodRef
from paydesk.client_parts import CustomerRef, PackRef
from paydesk.client_refills import Refill, RefillRef
from paydesk.client_threads import AsyncListing, Threads
from paydesk.rules.money import Money


class AsyncRefills:
    """Credits and wallets that a saved method fills again when little is left."""

    def __init__(self, threads: Threads, part: client_refills.Refills) -> None:
        self._threads = threads
        self._part = part

    async def set(
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
        return await self._threads.run(
            self._part.set, customer, threshold=threshold, pack=pack, credits=credits,
            wallet=wallet, method=method, day_count=day_count, month_count=month_count,
            day_amount=day_amount, month_amount=month_amount, pause_after=pause_after,
        )  # fmt: skip

    async def get(self, refill: RefillRef) -> Refill:
        """A refill as it stands. Raises NotFound."""
        return await self._threads.run(self._part.get, refill)

    def list(
        self,
        customer: CustomerRef | None = None,
        *,
        status: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[Refill]:
        """Refills, newest first; everybody's without a customer."""
        return AsyncListing(self._threads, self._part.list(customer, status=status, limit=limit))

    async def off(self, refill: RefillRef) -> Refill:
        """Buy nothing more; a payment that is under way is finished. Raises NotFound."""
        return await self._threads.run(self._part.off, refill)
