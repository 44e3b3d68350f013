"""client_invoices, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from paydesk import client_invoices
from paydesk.client_invoices import CreditNote, Invoice, InvoiceItem, InvoiceRef, NoteRef
from paydesk.client_parts import CustomerRef
from paydesk.client_threads import AsyncListing, Threads
from paydesk.results import Session
from paydesk.rules.money import Money


class AsyncInvoices:
    """Invoices: written by hand or by subscriptions, paid, voided, printed."""

    def __init__(self, threads: Threads, part: client_invoices.Invoices) -> None:
        self._threads = threads
        self._part = part

    async def create(
        self,
        customer: CustomerRef,
        items: Iterable[tuple[str, Money] | tuple[str, Money, int]],
        *,
        percent_off: int | None = None,
        amount_off: Money | None = None,
        memo: str | None = None,
        buyer: Mapping[str, Any] | None = None,
        days: int = 0,
        finalize: bool = True,
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Invoice:
        """Write an invoice by hand. `items`: (description, price) or (description, price of each,
        how many), below zero for a credit. `days` until the money is expected; `buyer`: name,
        email, address, country, tax_id where that is not what is known. The same `key` is the same
        invoice. Raises InvalidRequest."""
        return await self._threads.run(
            self._part.create, customer, items, percent_off=percent_off, amount_off=amount_off,
            memo=memo, buyer=buyer, days=days, finalize=finalize, metadata=metadata, key=key,
        )  # fmt: skip

    async def get(self, invoice: InvoiceRef) -> Invoice:
        """One invoice with its lines, as it stands. Raises NotFound."""
        return await self._threads.run(self._part.get, invoice)

    def list(
        self,
        *,
        customer: CustomerRef | None = None,
        subscription: str | UUID | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[Invoice]:
        """Invoices, newest first: a subscription's, a customer's, or everybody's."""
        return AsyncListing(self._threads, self._part.list(
            customer=customer, subscription=subscription, status=status, limit=limit,
        ))  # fmt: skip

    async def finalize(self, invoice: InvoiceRef) -> Invoice:
        """Fix a draft's lines and taxes: it is open then. Safe to repeat."""
        return await self._threads.run(self._part.finalize, invoice)

    async def pay(
        self,
        invoice: InvoiceRef,
        *,
        method: str | UUID | None = None,
        off_session: bool = False,
        return_url: str | None = None,
        key: str | None = None,
    ) -> Invoice:
        """Charge a saved method (the default one without `method`) for what is due. How that went
        stands on the payment that the answer names. Raises InvoiceStateConflict, PaymentInFlight,
        PaymentMethodNotUsable, NotFound."""
        return await self._threads.run(
            self._part.pay, invoice, method=method, off_session=off_session, return_url=return_url,
            key=key,
        )  # fmt: skip

    async def checkout(
        self,
        invoice: InvoiceRef,
        *,
        success_url: str | None = None,
        cancel_url: str | None = None,
        provider: str | None = None,
    ) -> Session:
        """A page to pay the invoice on; the one that is open for it, where there is one."""
        return await self._threads.run(
            self._part.checkout, invoice, success_url=success_url, cancel_url=cancel_url,
            provider=provider,
        )  # fmt: skip

    async def void(self, invoice: InvoiceRef) -> Invoice:
        """Ask for nothing any more; what the balance paid is given back. Safe to repeat. Raises
        InvoiceStateConflict, PaymentInFlight."""
        return await self._threads.run(self._part.void, invoice)

    async def mark_uncollectible(self, invoice: InvoiceRef) -> Invoice:
        """Give it up: no more tries are made, though it may still be paid. Safe to repeat."""
        return await self._threads.run(self._part.mark_uncollectible, invoice)

    async def pdf(self, invoice: InvoiceRef, *, locale: str | None = None) -> bytes:
        """The document, in `locale` (en, fr, ht) or the customer's language. Raises NotFound for a
        draft."""
        return await self._threads.run(self._part.pdf, invoice, locale=locale)


class AsyncCreditNotes:
    """Credit notes: what is given back of invoices."""

    def __init__(self, threads: Threads, part: client_invoices.CreditNotes) -> None:
        self._threads = threads
        self._part = part

    async def create(
        self,
        invoice: InvoiceRef,
        amount: Money | None = None,
        *,
        refund: Money | None = None,
        balance: Money | None = None,
        items: Iterable[tuple[InvoiceItem | str, Money]] = (),
        reason: str | None = None,
        memo: str | None = None,
        by: str | None = None,
        key: str | None = None,
    ) -> CreditNote:
        """Give an invoice back, wholly (all that is left) or in part, the tax with it: to the
        payer (`refund`) and to the customer's balance (`balance`); an open one asks for less.
        `items`: the lines that it is about, each with its part, that make up the amount. The same
        `key` is the same note. Raises InvalidRequest, Conflict, and what a refund raises."""
        return await self._threads.run(
            self._part.create, invoice, amount, refund=refund, balance=balance, items=items,
            reason=reason, memo=memo, by=by, key=key,
        )  # fmt: skip

    async def get(self, note: NoteRef) -> CreditNote:
        """One credit note, with how its refund stands. Raises NotFound."""
        return await self._threads.run(self._part.get, note)

    def list(
        self,
        *,
        invoice: InvoiceRef | None = None,
        customer: CustomerRef | None = None,
        limit: int | None = None,
    ) -> AsyncListing[CreditNote]:
        """Credit notes, newest first: an invoice's, a customer's, or everybody's."""
        return AsyncListing(self._threads, self._part.list(
            invoice=invoice, customer=customer, limit=limit,
        ))  # fmt: skip

    async def void(self, note: NoteRef, *, by: str | None = None) -> CreditNote:
        """Take a note back whose refund came to nothing. Raises Conflict."""
        return await self._threads.run(self._part.void, note, by=by)

    async def pdf(self, note: NoteRef, *, locale: str | None = None) -> bytes:
        """The document, in `locale` or the customer's language."""
        return await self._threads.run(self._part.pdf, note, locale=locale)
