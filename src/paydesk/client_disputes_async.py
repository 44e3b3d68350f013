"""client_disputes, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from paydesk import client_disputes
from paydesk.client_disputes import APPLICATION, Dispute, DisputeRef
from paydesk.client_parts import CustomerRef
from paydesk.client_threads import AsyncListing, Threads
from paydesk.flows.reconcile import Drift, Reconciliation
from paydesk.results import Payment


class AsyncDisputes:
    """What banks bring up against payments, and what is said against it."""

    def __init__(self, threads: Threads, part: client_disputes.Disputes) -> None:
        self._threads = threads
        self._part = part

    async def get(self, dispute: DisputeRef) -> Dispute:
        """By our id or the provider's. Raises NotFound."""
        return await self._threads.run(self._part.get, dispute)

    def list(
        self,
        *,
        customer: CustomerRef | None = None,
        payment: str | UUID | Payment | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[Dispute]:
        """Disputes, newest first: a payment's, a customer's, or everybody's."""
        return AsyncListing(self._threads, self._part.list(
            customer=customer, payment=payment, status=status, limit=limit,
        ))  # fmt: skip

    async def suggest(self, dispute: DisputeRef) -> dict[str, str]:
        """Field -> text, of what is on record against it. Changes nothing."""
        return await self._threads.run(self._part.suggest, dispute)

    async def draft(self, dispute: DisputeRef, *, by: str = APPLICATION) -> Dispute:
        """Change texts of the evidence by the names of its fields; None takes one out.

        Raises InvalidRequest for a field that does not exist, DisputeClosed.
        """
        return await self._threads.run(self._part.draft, dispute, by=by)

    async def attach(
        self,
        dispute: DisputeRef,
        field: str,
        name: str,
        content: bytes,
        content_type: str = 'application/pdf',
        *,
        by: str = APPLICATION,
    ) -> Dispute:
        """Add a PDF, PNG or JPEG, one for each field. Raises InvalidRequest, DisputeClosed."""
        return await self._threads.run(
            self._part.attach, dispute, field, name, content, content_type, by=by,
        )  # fmt: skip

    async def submit(self, dispute: DisputeRef, *, by: str = APPLICATION) -> Dispute:
        """Send the draft to the bank, once; a repeat finds it done. Raises DisputeClosed."""
        return await self._threads.run(self._part.submit, dispute, by=by)

    async def accept(self, dispute: DisputeRef, *, by: str = APPLICATION) -> Dispute:
        """Give the dispute up: it is lost. Raises DisputeClosed."""
        return await self._threads.run(self._part.accept, dispute, by=by)


class AsyncReconciliations:
    """A provider's books beside ours."""

    def __init__(self, threads: Threads, part: client_disputes.Reconciliations) -> None:
        self._threads = threads
        self._part = part

    async def run(
        self,
        provider: str = 'stripe',
        *,
        since: datetime,
        until: datetime | None = None,
        fix: bool = False,
        by: str = APPLICATION,
    ) -> Reconciliation:
        """Compare item by item and wait for the end; with `fix` record what is missing here.

        Amounts are never changed. Raises NotSupported, ProviderUnavailable (`resume` goes on).
        """
        return await self._threads.run(
            self._part.run, provider, since=since, until=until, fix=fix, by=by,
        )  # fmt: skip

    async def resume(self, reconciliation: str | UUID | Reconciliation) -> Reconciliation:
        """Go on with a run that was left."""
        return await self._threads.run(self._part.resume, reconciliation)

    async def get(self, reconciliation: str | UUID | Reconciliation) -> Reconciliation:
        """A run as it stands. Raises NotFound."""
        return await self._threads.run(self._part.get, reconciliation)

    def drifts(
        self,
        reconciliation: str | UUID | Reconciliation,
        *,
        kind: str | None = None,
        type: str | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[Drift]:
        """What differs, by kind and the provider's reference."""
        return AsyncListing(self._threads, self._part.drifts(
            reconciliation, kind=kind, type=type, status=status, limit=limit,
        ))  # fmt: skip
