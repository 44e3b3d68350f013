"""The library's front for invoices: `pay.invoices` and `pay.credit_notes`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.client_parts import CustomerRef, _Part, request_key
from paydesk.errors import InvalidRequest
from paydesk.flows import credit_notes, customers, invoice_papers, invoice_views, invoices
from paydesk.flows.credit_notes import NewNote, NoteView
from paydesk.flows.invoice_views import InvoiceView, ItemView
from paydesk.flows.invoices import Discount as InvoiceDiscount
from paydesk.flows.invoices import NewInvoice, NewItem
from paydesk.results import Listing, Session
from paydesk.rules.money import Money, currency_code

#: Who gives back where nobody is named: the application itself.
APPLICATION = "application"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceItem:
    """A line. `kind` is recurring, proration_credit, proration_charge, discount, tax, one_off or
    adjustment; `of_item` the line that it takes back, discounts or taxes; `why` how it came to be.
    """

    id: str
    kind: str
    description: str
    amount: Money
    quantity: int
    unit: Money | None
    period_start: datetime | None
    period_end: datetime | None
    of_item: str | None
    tax: Money | None
    why: Mapping[str, Any] = field(hash=False)

    @classmethod
    def of(cls, one: ItemView) -> InvoiceItem:
        return cls(
            id=ids.show("invoice_item", one.id), kind=one.kind, description=one.description,
            amount=one.amount, quantity=one.quantity, unit=one.unit, tax=one.tax, why=one.why,
            period_start=one.period_start, period_end=one.period_end,
            of_item=ids.show("invoice_item", one.of_item) if one.of_item else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """An invoice. `status` is draft, open, paid, void or uncollectible; `url` is the page to pay
    it on. total = subtotal - discount + the tax that prices do not include; due = total -
    `balance`, which the customer's balance paid. `payment` is the one that paid it, or, while it
    is open, the one under way or tried last; None where the balance, credit notes or the provider
    settled it. `payments` are all that brought money."""

    id: str
    number: str | None
    customer: str
    subscription: str | None
    status: str
    reason: str
    subtotal: Money
    discount: Money
    tax: Money
    total: Money
    balance: Money
    due: Money
    paid: Money
    remaining: Money
    credited: Money
    items: list[InvoiceItem] = field(hash=False)
    period_start: datetime | None
    period_end: datetime | None
    payment: str | None
    payments: list[str] = field(hash=False)
    attempts: int
    next_attempt_at: datetime | None
    error_code: str | None
    due_at: datetime | None
    finalized_at: datetime | None
    paid_at: datetime | None
    url: str | None
    pdf_url: str | None
    memo: str | None
    metadata: Mapping[str, str] = field(hash=False)
    created_at: datetime

    @classmethod
    def of(cls, one: InvoiceView) -> Invoice:
        return cls(
            id=ids.show("invoice", one.id), number=one.number,
            customer=ids.show("customer", one.customer_id),
            subscription=(ids.show("subscription", one.subscription_id)
                          if one.subscription_id else None),
            status=one.status, reason=one.reason, subtotal=one.subtotal, discount=one.discount,
            tax=one.tax, total=one.total, balance=one.balance, due=one.due, paid=one.paid,
            remaining=one.remaining, credited=one.credited,
            items=[InvoiceItem.of(item) for item in one.items], period_start=one.period_start,
            period_end=one.period_end, attempts=one.attempts,
            payment=ids.show("payment", one.payment_id) if one.payment_id else None,
            payments=[ids.show("payment", each) for each in one.payments],
            next_attempt_at=one.next_attempt_at, error_code=one.error_code, due_at=one.due_at,
            finalized_at=one.finalized_at, paid_at=one.paid_at, url=one.page_url,
            pdf_url=one.pdf_url, memo=one.memo, metadata=one.metadata, created_at=one.created_at,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Invoice {self.number or self.id} {self.status} {self.total}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNote:
    """What was given back of an invoice: amount = refunded + balance + written_off, the tax in it.
    `status` is issued or void."""

    id: str
    number: str | None
    invoice: str
    status: str
    amount: Money
    tax: Money
    refunded: Money
    balance: Money
    written_off: Money
    reason: str | None
    memo: str | None
    refund: str | None
    refund_status: str | None
    created_at: datetime

    @classmethod
    def of(cls, one: NoteView) -> CreditNote:
        return cls(
            id=ids.show("credit_note", one.id), number=one.number,
            invoice=ids.show("invoice", one.invoice_id), status=one.status, amount=one.amount,
            tax=one.tax, refunded=one.refunded, balance=one.balance, written_off=one.written_off,
            reason=one.reason, memo=one.memo, refund_status=one.refund_status,
            refund=ids.show("refund", one.refund_id) if one.refund_id else None,
            created_at=one.created_at,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<CreditNote {self.number or self.id} {self.amount}>"


#: An invoice, or a credit note: its id, or the object.
InvoiceRef = str | UUID | Invoice
NoteRef = str | UUID | CreditNote


class Invoices(_Part):
    """Invoices: written by hand or by subscriptions, paid, voided, printed."""

    def create(
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
        lines, currency = _lines(items)
        discount = None
        if percent_off is not None:
            discount = InvoiceDiscount(description=f"{percent_off}% off",
                                       percent_micros=percent_off * 10_000)  # fmt: skip
        elif amount_off is not None:
            discount = InvoiceDiscount(description="Discount", minor=amount_off.minor)
        made = invoices.create(self._env, NewInvoice(
            customer_id=customers.resolve(self._env, customer), currency=currency, items=lines,
            discount=discount, memo=memo, buyer=buyer, days=days, finalize=finalize,
            metadata=metadata, request_key=request_key(key) or uuid.uuid4(),
        ))  # fmt: skip
        return Invoice.of(made)

    def get(self, invoice: InvoiceRef) -> Invoice:
        """One invoice with its lines, as it stands. Raises NotFound."""
        return Invoice.of(invoices.get(self._env, None, _invoice_id(invoice)))

    def list(
        self,
        *,
        customer: CustomerRef | None = None,
        subscription: str | UUID | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> Listing[Invoice]:
        """Invoices, newest first: a subscription's, a customer's, or everybody's."""
        named = ids.parse("subscription", subscription) if isinstance(subscription, str) else (
            subscription)  # fmt: skip

        def page(last: Any, n: int) -> Any:
            who = None if customer is None else customers.resolve(self._env, customer)
            return invoices.list_(
                self._env, who, subscription_id=named, status=status, limit=n,
                after=last.id if last else None,
            )  # fmt: skip

        return Listing(page, Invoice.of, limit)

    def finalize(self, invoice: InvoiceRef) -> Invoice:
        """Fix a draft's lines and taxes: it is open then. Safe to repeat."""
        return Invoice.of(invoices.finalize_now(self._env, *self._key(invoice)))

    def pay(
        self, invoice: InvoiceRef, *, method: str | UUID | None = None, off_session: bool = False,
        return_url: str | None = None, key: str | None = None,
    ) -> Invoice:  # fmt: skip
        """Charge a saved method (the default one without `method`) for what is due. How that went
        stands on the payment that the answer names. Raises InvoiceStateConflict, PaymentInFlight,
        PaymentMethodNotUsable, NotFound."""
        return Invoice.of(invoices.pay(
            self._env, *self._key(invoice), method=method, off_session=off_session,
            return_url=return_url, request_key=request_key(key),
        ))  # fmt: skip

    def checkout(
        self, invoice: InvoiceRef, *, success_url: str | None = None,
        cancel_url: str | None = None, provider: str | None = None,
    ) -> Session:  # fmt: skip
        """A page to pay the invoice on; the one that is open for it, where there is one."""
        made = invoices.checkout_for(
            self._env, *self._key(invoice), success_url=success_url, cancel_url=cancel_url,
            provider=provider,
        )
        return Session.of(made, is_served=bool(self._env.settings.public_url))

    def void(self, invoice: InvoiceRef) -> Invoice:
        """Ask for nothing any more; what the balance paid is given back. Safe to repeat. Raises
        InvoiceStateConflict, PaymentInFlight."""
        return Invoice.of(invoices.void(self._env, *self._key(invoice)))

    def mark_uncollectible(self, invoice: InvoiceRef) -> Invoice:
        """Give it up: no more tries are made, though it may still be paid. Safe to repeat."""
        return Invoice.of(invoices.mark_uncollectible(self._env, *self._key(invoice)))

    def pdf(self, invoice: InvoiceRef, *, locale: str | None = None) -> bytes:
        """The document, in `locale` (en, fr, ht) or the customer's language. Raises NotFound for a
        draft."""
        found = invoices.get(self._env, None, _invoice_id(invoice))
        return invoice_papers.invoice_pdf(self._env, found, locale)[1]

    def _key(self, invoice: InvoiceRef) -> tuple[UUID, UUID]:
        return invoice_views.key_of(_invoice_id(invoice))


class CreditNotes(_Part):
    """Credit notes: what is given back of invoices."""

    def create(
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
        owner, found = invoice_views.key_of(_invoice_id(invoice))
        parts = list(items)
        if len({part.currency for _, part in parts}) > 1:
            raise InvalidRequest("Lines of one invoice have one currency.", param="items")
        if parts and amount is None:
            amount = sum((part for _, part in parts[1:]), parts[0][1])
        return CreditNote.of(credit_notes.create(self._env, NewNote(
            customer_id=owner, invoice_id=found, amount=amount, refund=refund, balance=balance,
            items=_parts(parts), reason=reason, memo=memo, by=by or APPLICATION,
            request_key=request_key(key) or uuid.uuid4(),
        )))  # fmt: skip

    def get(self, note: NoteRef) -> CreditNote:
        """One credit note, with how its refund stands. Raises NotFound."""
        return CreditNote.of(credit_notes.get(self._env, None, _note_id(note)))

    def list(
        self,
        *,
        invoice: InvoiceRef | None = None,
        customer: CustomerRef | None = None,
        limit: int | None = None,
    ) -> Listing[CreditNote]:
        """Credit notes, newest first: an invoice's, a customer's, or everybody's."""
        named = None if invoice is None else invoice_views.key_of(_invoice_id(invoice))[1]

        def page(last: Any, n: int) -> Any:
            who = None if customer is None else customers.resolve(self._env, customer)
            return credit_notes.list_(
                self._env, who, invoice_id=named, limit=n, after=last.id if last else None
            )

        return Listing(page, CreditNote.of, limit)

    def void(self, note: NoteRef, *, by: str | None = None) -> CreditNote:
        """Take a note back whose refund came to nothing. Raises Conflict."""
        found = _note_id(note)
        return CreditNote.of(credit_notes.void(
            self._env, ids.customer_of(found), found, by=by or APPLICATION
        ))  # fmt: skip

    def pdf(self, note: NoteRef, *, locale: str | None = None) -> bytes:
        """The document, in `locale` or the customer's language."""
        found = credit_notes.get(self._env, None, _note_id(note))
        return invoice_papers.note_pdf(self._env, found, locale)[1]


def _parts(items: Iterable[tuple[InvoiceItem | str, Money]]) -> list[tuple[UUID, int]]:
    """Lines by id, with their parts in minor units."""
    return [
        (ids.parse("invoice_item", line if isinstance(line, str) else line.id), part.minor)
        for line, part in items
    ]


def _lines(items: Iterable[Any]) -> tuple[list[NewItem], str]:
    """Lines to write, and their currency."""
    found, currency = [], None
    for description, price, *more in items:
        quantity = more[0] if more else 1
        currency = currency or price.currency
        if price.currency != currency:
            raise ValueError("The lines of an invoice have one currency.")
        found.append(NewItem(
            kind="one_off" if price.minor >= 0 else "adjustment", description=description,
            amount_minor=price.minor * quantity, quantity=quantity, unit_minor=price.minor,
        ))  # fmt: skip
    return found, currency_code(currency or "usd")


def _invoice_id(ref: InvoiceRef) -> UUID:
    shown = ref.id if isinstance(ref, Invoice) else ref
    return ids.parse("invoice", shown) if isinstance(shown, str) else shown


def _note_id(ref: NoteRef) -> UUID:
    shown = ref.id if isinstance(ref, CreditNote) else ref
    return ids.parse("credit_note", shown) if isinstance(shown, str) else shown
