"""What v1 takes and gives of invoices and credit notes, as models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from paydesk.http.fields import MAX_AMOUNT, Currency, DecimalText, Metadata, Minor, Ref, Strict, Url
from paydesk.http.v1.models import CheckoutOut, Object, Out, PaymentOut

Memo = Field(default=None, max_length=1000)
Signed = Annotated[
    int, Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT, description="Minor units; below zero: a credit.")
]


class LineIn(Strict):
    """A line: `amount` is the whole of it, or `unit_amount` of each of `quantity`."""

    description: str = Field(min_length=1, max_length=500)
    amount: Signed | None = None
    unit_amount: Signed | None = None
    quantity: int = Field(default=1, ge=1, le=1_000_000)
    product: str = Field(default="", max_length=100)


class BuyerIn(Strict):
    """Whom it is to, where that is not what is known of the customer. `country`: ISO 3166, for
    taxes."""

    name: str | None = Field(default=None, max_length=255)
    email: str | None = Field(default=None, max_length=320)
    address: str | None = Field(default=None, max_length=1000)
    country: str | None = Field(default=None, pattern="^[A-Za-z]{2}$")
    tax_id: str | None = Field(default=None, max_length=64)


class InvoiceIn(Strict):
    """`finalize` false leaves a draft. `days` until the money is expected. A discount as
    `percent_off` or `amount_off`."""

    customer: Ref
    currency: Currency
    items: list[LineIn] = Field(min_length=1, max_length=100)
    percent_off: int | None = Field(default=None, ge=1, le=100)
    amount_off: Minor | None = None
    memo: str | None = Memo
    buyer: BuyerIn | None = None
    days: int = Field(default=0, ge=0, le=365)
    finalize: bool = True
    metadata: Metadata = Field(default_factory=dict)


class InvoicePayIn(Strict):
    """`payment_method`: a saved method or a token; the default one without it."""

    payment_method: Ref | None = None
    return_url: Url | None = None


class InvoiceCheckoutIn(Strict):
    provider: str | None = Field(default=None, max_length=40)
    success_url: Url | None = None
    cancel_url: Url | None = None


class NoteItemIn(Strict):
    item: Ref
    amount: Minor


class CreditNoteIn(Strict):
    """Without an amount all that is left. Of a paid invoice `refund` goes to the payer and
    `balance` to the customer's balance; where neither is said, the payer comes first."""

    invoice: Ref
    amount: Minor | None = None
    amount_decimal: DecimalText | None = None
    refund: Annotated[int, Field(ge=0, le=MAX_AMOUNT)] | None = None
    balance: Annotated[int, Field(ge=0, le=MAX_AMOUNT)] | None = None
    items: list[NoteItemIn] = Field(default_factory=list, max_length=100)
    reason: str | None = Field(default=None, min_length=1, max_length=255)
    memo: str | None = Memo


class InvoiceItemOut(Out):
    id: str
    object: Literal["invoice_item"]
    kind: Literal["recurring", "proration_credit", "proration_charge", "discount", "tax",
                  "one_off", "adjustment"]  # fmt: skip
    description: str
    amount: int
    amount_decimal: str
    quantity: int
    unit_amount: int | None
    unit_amount_decimal: str | None
    period_start: str | None
    period_end: str | None
    plan: str | None
    plan_version: int | None
    of_item: str | None
    tax_rate: str | None
    tax: int | None
    product: str
    why: dict[str, Any]


class InvoiceOut(Object):
    """total = subtotal - discount + the tax that prices do not include; due = total - balance.
    `payment`: the one that paid it, or, while it is open, the one under way or tried last; null
    where the balance, credit notes or the provider settled it. `payments`: all that brought money.
    """

    object: Literal["invoice"]
    customer: str
    subscription: str | None
    number: str | None
    status: Literal["draft", "open", "paid", "void", "uncollectible"]
    billing_reason: str
    runner: Literal["paydesk", "provider"]
    currency: str
    subtotal: int
    subtotal_decimal: str
    discount: int
    discount_decimal: str
    tax: int
    tax_decimal: str
    total: int
    total_decimal: str
    balance_applied: int
    balance_applied_decimal: str
    amount_due: int
    amount_due_decimal: str
    amount_paid: int
    amount_paid_decimal: str
    amount_remaining: int
    amount_remaining_decimal: str
    amount_credited: int
    amount_credited_decimal: str
    period_start: str | None
    period_end: str | None
    items: list[InvoiceItemOut]
    payment: str | None
    payments: list[str]
    attempts: int
    next_attempt_at: str | None
    error_code: str | None
    due_at: str | None
    finalized_at: str | None
    paid_at: str | None
    voided_at: str | None
    uncollectible_at: str | None
    seller: dict[str, Any]
    buyer: dict[str, Any]
    memo: str | None
    hosted_url: str | None
    pdf_url: str | None
    metadata: dict[str, Any]
    updated_at: str


class InvoicePaidOut(Out):
    """The invoice, and how the payment for it stands: requires_action has a page to open."""

    object: Literal["invoice_payment"]
    invoice: InvoiceOut
    payment: PaymentOut | None


class InvoiceCheckoutOut(CheckoutOut):
    """A checkout whose payment is for the invoice."""


class NoteLineOut(Out):
    item: str
    description: str
    amount: int


class CreditNoteOut(Object):
    """amount = refunded + balance + written_off; the tax is in it."""

    object: Literal["credit_note"]
    customer: str
    invoice: str
    number: str | None
    status: Literal["issued", "void"]
    currency: str
    amount: int
    amount_decimal: str
    tax: int
    tax_decimal: str
    refunded: int
    refunded_decimal: str
    balance: int
    balance_decimal: str
    written_off: int
    written_off_decimal: str
    items: list[NoteLineOut]
    reason: str | None
    memo: str | None
    refund: str | None
    refund_status: str | None
    created_by: str | None = None
