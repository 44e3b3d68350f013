"""client_refunds, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paydesk import client_refunds
from paydesk.client_parts import CustomerRef
from paydesk.client_refunds import PaymentRef, Refund, RefundRef
from paydesk.client_threads import AsyncListing, Threads
from paydesk.flows.refunds import Preview
from paydesk.rules.money import Money


class AsyncRefunds:
    """Refunds: looked at before, asked for, decided."""

    def __init__(self, threads: Threads, part: client_refunds.Refunds) -> None:
        self._threads = threads
        self._part = part

    async def preview(self, payment: PaymentRef, amount: Money | None = None) -> Preview:
        """What a refund of this amount (all that is left without one) would do and take back.

        Changes nothing. Raises NotFound, NotRefundable, InvalidRequest.
        """
        return await self._threads.run(self._part.preview, payment, amount)

    async def create(
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
        """Give a payment back, wholly (all that is left) or in part; its goods go with it.

        Above the approval threshold it is `requested` until somebody else than `by` decides.
        `force` goes past the window. The same `key` refunds once. Raises NotRefundable,
        RefundWindowClosed, GoodsUsed, NotSupported, ProviderRefused.
        """
        return await self._threads.run(
            self._part.create, payment, amount, reason=reason, note=note, by=by, force=force,
            metadata=metadata, key=key,
        )  # fmt: skip

    async def get(self, refund: RefundRef) -> Refund:
        """One refund, as it stands. Raises NotFound."""
        return await self._threads.run(self._part.get, refund)

    def list(
        self,
        *,
        payment: PaymentRef | None = None,
        customer: CustomerRef | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[Refund]:
        """Refunds, newest first: a payment's, a customer's, or everybody's."""
        return AsyncListing(self._threads, self._part.list(
            payment=payment, customer=customer, status=status, limit=limit,
        ))  # fmt: skip

    async def approve(self, refund: RefundRef, *, by: str, note: str | None = None) -> Refund:
        """Another person than who asked carries a requested refund out. Raises ApprovalRequired,
        Conflict, and what `create` raises."""
        return await self._threads.run(self._part.approve, refund, by=by, note=note)

    async def reject(self, refund: RefundRef, *, by: str, note: str | None = None) -> Refund:
        """Another person than who asked refuses it. Raises ApprovalRequired, Conflict."""
        return await self._threads.run(self._part.reject, refund, by=by, note=note)

    async def cancel(self, refund: RefundRef, *, by: str) -> Refund:
        """Whoever asked takes that back. Raises NotPermitted, Conflict."""
        return await self._threads.run(self._part.cancel, refund, by=by)

    async def mark_paid(self, refund: RefundRef, reference: str, *, by: str) -> Refund:
        """A person paid it back by hand, for payments that no provider refunds."""
        return await self._threads.run(self._part.mark_paid, refund, reference, by=by)

    async def mark_failed(self, refund: RefundRef, *, by: str, note: str | None = None) -> Refund:
        """A person could not pay it back: goods and books stand as before it."""
        return await self._threads.run(self._part.mark_failed, refund, by=by, note=note)
