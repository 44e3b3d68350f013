"""An invoice's row, what is posted for it, and what follows when it is paid or a try failed.

Everything here is a step inside the caller's transaction, which holds the customer's head.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.errors import AlreadyPurchased, NotFound
from paydesk.flows import ledger
from paydesk.flows.events import NewEvent, emit_many
from paydesk.rules import invoices as rules
from paydesk.rules.dunning import sterner
from paydesk.rules.invoices import InvoiceStateConflict
from paydesk.rules.money import Money
from paydesk.rules.payments import OPEN_STATES
from paydesk.settings import Settings
from paydesk.tracker.stores.joined import ServicePayment

#: The purpose of payments for invoices.
PURPOSE = "invoice"
#: What becomes of a subscription whose invoice is paid, or could not be; the module that has a say
#: registers itself when it is imported, which is done here before the first question.
PaidHook = Callable[[Tx, datetime, "InvoiceRow", ServicePayment | None, Settings], None]
FailedHook = Callable[[Tx, datetime, "InvoiceRow", ServicePayment], None]
ON_PAID: list[PaidHook] = []
ON_FAILED: list[FailedHook] = []
VoidedHook = Callable[[Tx, datetime, "InvoiceRow", Settings], None]
ON_VOIDED: list[VoidedHook] = []
_ENGINE = "paydesk.flows.subscriptions"


class InvoiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `invoices`: amounts in minor units of `currency`; total = balance + due."""

    customer_id: UUID
    id: UUID
    version: int
    subscription_id: UUID | None
    state: str
    reason: str
    cycle: int | None
    runner: str
    currency: str
    subtotal_minor: int
    discount_minor: int
    tax_minor: int
    total_minor: int
    balance_minor: int
    due_minor: int
    paid_minor: int
    credited_minor: int
    period_start: datetime | None
    period_end: datetime | None
    series: str
    number: str | None
    payment_id: UUID | None
    attempts: int
    first_failed_at: datetime | None
    try_at: datetime | None
    error_code: str | None
    due_at: datetime | None
    finalized_at: datetime | None
    paid_at: datetime | None
    voided_at: datetime | None
    uncollectible_at: datetime | None
    secret: str
    seller: dict[str, Any]
    buyer: dict[str, Any]
    memo: str | None
    txn_id: UUID | None
    provider: str | None
    provider_account: str | None
    provider_ref: str | None
    hosted_url: str | None
    pdf_url: str | None
    metadata: dict[str, Any]
    request_key: UUID
    clock_id: UUID | None
    created_at: datetime
    updated_at: datetime

    @property
    def payable(self) -> str:
        """What only one payment at a time may be under way for."""
        return f"invoice:{self.id}"

    @property
    def payment_type(self) -> str | None:
        return {"subscription_create": "subscription", "subscription_cycle": "renewal",
                "subscription_update": "upgrade"}.get(self.reason)  # fmt: skip

    def money(self, minor: int) -> Money:
        return Money(minor, self.currency, minor=True)


COLUMNS = ", ".join(InvoiceRow.__struct_fields__)
#: What a step may change, and how it is written.
_CHANGING = (
    "state", "reason", "cycle", "subtotal_minor", "discount_minor", "tax_minor", "total_minor",
    "balance_minor", "due_minor", "paid_minor", "credited_minor", "period_start", "period_end",
    "number", "payment_id", "attempts", "first_failed_at", "try_at", "error_code", "due_at",
    "finalized_at", "paid_at", "voided_at", "uncollectible_at", "hosted_url",
    "pdf_url", "seller", "buyer", "memo", "txn_id",
    "metadata", "request_key",
)  # fmt: skip
_JSON = frozenset({"seller", "buyer", "metadata"})
_SELECT: Any = " ".join(["select", COLUMNS, "from invoices where customer_id = %(customer_id)s"])


def find(tx: Tx, customer_id: UUID, invoice_id: UUID) -> InvoiceRow | None:
    row = tx.one(_SELECT + " and id = %(id)s", {"customer_id": customer_id, "id": invoice_id})
    return InvoiceRow(**row) if row else None


def get(tx: Tx, customer_id: UUID, invoice_id: UUID) -> InvoiceRow:
    """Raises NotFound."""
    row = find(tx, customer_id, invoice_id)
    if row is None:
        raise NotFound(f"No such invoice: {ids.show('invoice', invoice_id)}.")
    return row


def draft_of(tx: Tx, customer_id: UUID, subscription_id: UUID) -> InvoiceRow | None:
    """The subscription's draft, of which there is at most one."""
    row = tx.one(
        _SELECT + " and subscription_id = %(subscription_id)s and state = 'draft'",
        {"customer_id": customer_id, "subscription_id": subscription_id},
    )
    return InvoiceRow(**row) if row else None


def same(
    tx: Tx, customer_id: UUID, request_key: UUID, subscription_id: UUID | None, cycle: int | None
) -> InvoiceRow | None:
    """The invoice of this request, or of this period of the subscription."""
    row = tx.one(
        _SELECT + " and (request_key = %(key)s or (subscription_id = %(subscription_id)s::uuid"
        " and cycle = %(cycle)s::int)) order by created_at limit 1",
        {"customer_id": customer_id, "key": request_key, "subscription_id": subscription_id,
         "cycle": cycle},
    )  # fmt: skip
    return InvoiceRow(**row) if row else None


def change(tx: Tx, row: InvoiceRow, **values: Any) -> InvoiceRow:
    """Write what is named, and nothing else; answers the row as it is then."""
    names = tuple(sorted(values))
    told = {name: jsonb(one) if name in _JSON else one for name, one in values.items()}
    after = tx.one(_update(names), {"customer_id": row.customer_id, "id": row.id, **told})
    assert after is not None, "invoices stay"
    if after["version"] != row.version + 1:  # It was read before somebody else's change.
        return get(tx, row.customer_id, row.id)
    return msgspec.structs.replace(row, **{n: _kept(one) for n, one in values.items()}, **after)


def _kept(value: Any) -> Any:
    """A value as it comes out of the row that it was written into."""
    return value.astimezone(UTC) if isinstance(value, datetime) else value


@lru_cache(maxsize=256)
def _update(names: tuple[str, ...]) -> Any:
    """Few sets of columns occur: the text is made once for each."""
    unknown = set(names) - set(_CHANGING)
    assert not unknown, f"these do not change: {sorted(unknown)}"
    return " ".join([
        "update invoices set", ", ".join(f"{name} = %({name})s" for name in names),
        ", version = version + 1 where customer_id = %(customer_id)s and id = %(id)s"
        " returning version, updated_at",
    ])  # fmt: skip


def event(row: InvoiceRow, now: datetime, type: str, **more: Any) -> NewEvent:
    data = {
        "status": row.state, "reason": row.reason, "total": row.total_minor,
        "due": row.due_minor, "currency": row.currency,
        "subscription_id": str(row.subscription_id) if row.subscription_id else None,
        "number": row.number,
        **{name: value for name, value in more.items() if value is not None},
    }  # fmt: skip
    return NewEvent(customer_id=row.customer_id, type=type, subject_id=row.id, data=data, at=now)


# Postings --------------------------------------------------------------------------------------


def post(
    tx: Tx, now: datetime, row: InvoiceRow, txn_id: UUID,
    moves: Sequence[tuple[str, str, int, str]], *, subject_id: UUID | None = None,
    reference: str | None = None,
) -> None:  # fmt: skip
    """Post (debit, credit, amount, reason); an amount below zero goes the other way."""
    ledger.post(
        tx,
        [
            ledger.Entry(
                customer_id=row.customer_id, debit=debit if amount > 0 else credit,
                credit=credit if amount > 0 else debit, asset=row.currency, amount=abs(amount),
                reason=reason, txn_id=txn_id, subject_id=subject_id or row.id,
                reference=reference or ids.show("invoice", row.id), effective_at=now,
            )
            for debit, credit, amount, reason in moves
            if amount
        ],
    )  # fmt: skip


def use_balance(tx: Tx, now: datetime, row: InvoiceRow, total: int, tax: int) -> int:
    """What the customer's balance pays of a total, posted; below zero: what a negative total put
    there, out of revenue and tax."""
    if total == 0:
        return 0
    txn_id = ids.new_owned(row.customer_id)
    if total > 0:
        stands = ledger.balances(tx, [row.customer_id], "balance", row.currency)
        used = min(total, max(0, stands[row.customer_id]))
        post(tx, now, row, txn_id, [("balance", "deposits", used, "INVOICE_BALANCE")])
        return used
    moves = [
        ("revenue", "balance", tax - total, "INVOICE_CREDIT"),
        ("tax", "balance", -tax, "INVOICE_CREDIT_TAX"),
    ]
    # What adds to the balance first: it is never below zero on the way.
    post(tx, now, row, txn_id, sorted(moves, key=lambda one: -one[2]))
    return total


def give_balance_back(tx: Tx, now: datetime, row: InvoiceRow) -> None:
    """A void invoice gives back what the customer's balance paid of it, but for what credit notes
    gave back while it was open."""
    before = tx.value(
        "select coalesce(sum(balance_minor), 0)::bigint from credit_notes"
        " where customer_id = %(customer_id)s and invoice_id = %(id)s and state = 'issued'",
        {"customer_id": row.customer_id, "id": row.id},
    )
    post(tx, now, row, ids.new_owned(row.customer_id),
         [("deposits", "balance", max(0, row.balance_minor) - before, "INVOICE_VOID")])  # fmt: skip


def _sell(
    tx: Tx, now: datetime, row: InvoiceRow, txn_id: UUID, payment_id: UUID | None, came: int,
    before: int = 0,
) -> None:  # fmt: skip
    """Deposits become revenue and tax: the payment's share under the payment, what the balance
    paid under the invoice. `before`: what other payments of a provider's invoice brought."""
    if row.total_minor < 0:  # Its whole worth stands on the balance by now.
        return
    if row.runner != "paydesk":  # What a balance at the provider paid never came here.
        share = sum(
            sign * rules.tax_of(part, tax=row.tax_minor, total=row.total_minor)
            for sign, part in ((1, before + came), (-1, before)) if part
        )  # fmt: skip
        post(tx, now, row, txn_id, [
            ("deposits", "revenue", came - share, "SALE"), ("deposits", "tax", share, "TAX"),
        ], subject_id=payment_id)  # fmt: skip
        return
    # What credit notes took off while it was open is neither asked for nor sold.
    off = rules.tax_of(row.credited_minor, tax=row.tax_minor, total=row.total_minor)
    paid, balance = rules.paid_parts(
        total=row.total_minor - row.credited_minor, tax=row.tax_minor - off, due=row.due_minor,
        came=came,
    )
    for part, subject in ((paid, payment_id), (balance, row.id)):
        post(tx, now, row, txn_id, [
            ("deposits", "revenue", part.revenue, "SALE"), ("deposits", "tax", part.tax, "TAX"),
        ], subject_id=subject)  # fmt: skip


# What follows ----------------------------------------------------------------------------------


def settle_nothing_due(
    tx: Tx, now: datetime, row: InvoiceRow, settings: Settings
) -> InvoiceRow:
    """A finalized invoice that asks for nothing is paid at once."""
    assert row.due_minor == 0, "something is due"
    txn_id = ids.new_owned(row.customer_id)
    _sell(tx, now, row, txn_id, None, 0)
    return _paid(tx, now, row, None, 0, txn_id, settings)


def settled_there(
    tx: Tx, now: datetime, row: InvoiceRow, settings: Settings
) -> InvoiceRow:
    """A provider's invoice was paid without a payment through it: by hand, by a balance there, or
    because nothing was due; or the last of it was. Nothing came of that, so nothing is posted."""
    assert row.runner != "paydesk", "our own is posted"
    txn_id = ids.new_owned(row.customer_id)
    return _paid(tx, now, row, None, row.paid_minor, txn_id, settings)


def paid(
    tx: Tx, now: datetime, payment: ServicePayment, *, txn_id: UUID, came: int,
    settings: Settings,
) -> InvoiceRow:  # fmt: skip
    """The money of a payment for an invoice has come: the books, the invoice, what follows.

    Raises AlreadyPurchased where it is settled otherwise: a person gives the money back.
    """
    row = get(tx, payment.customer_id, invoice_of(payment))
    if row.runner != "paydesk" and row.state in ("open", "uncollectible", "paid"):
        return _part(tx, now, row, payment, txn_id, came, settings)
    if row.state not in rules.PAYABLE:
        raise AlreadyPurchased(f"This invoice is {row.state} already: refund the payment.")
    _sell(tx, now, row, txn_id, payment.key[1], came)
    return _paid(tx, now, row, payment, came, txn_id, settings)


def _part(
    tx: Tx, now: datetime, row: InvoiceRow, payment: ServicePayment, txn_id: UUID, came: int,
    settings: Settings,
) -> InvoiceRow:  # fmt: skip
    """A payment of a provider's invoice, which may have several: it is paid with the one that
    brings the last of what is due, or when the provider says so."""
    if row.state == "paid":
        _sell(tx, now, row, txn_id, payment.key[1], came)
        return row
    _sell(tx, now, row, txn_id, payment.key[1], came, row.paid_minor)
    whole = row.paid_minor + came
    if whole >= row.due_minor:
        return _paid(tx, now, row, payment, whole, txn_id, settings)
    return change(tx, row, paid_minor=whole, payment_id=payment.key[1])


def _paid(
    tx: Tx, now: datetime, row: InvoiceRow, payment: ServicePayment | None, came: int,
    txn_id: UUID, settings: Settings,
) -> InvoiceRow:  # fmt: skip
    after = change(
        tx, row, state="paid", paid_at=now, paid_minor=came, txn_id=txn_id, try_at=None,
        error_code=None,
        payment_id=payment.key[1] if payment else _last_paying(tx, row) if came else None,
    )
    emit_many(tx, [event(after, now, "invoice.paid", paid=came, balance=after.balance_minor,
                         credited=after.credited_minor,
                         payment_id=str(payment.key[1]) if payment else None)])  # fmt: skip
    for hook in _hooks(ON_PAID):
        hook(tx, now, after, payment, settings)
    return after


def voided(tx: Tx, now: datetime, row: InvoiceRow, settings: Settings) -> None:
    """A person voided an invoice that was owed: what follows."""
    for hook in _hooks(ON_VOIDED):
        hook(tx, now, row, settings)


def _last_paying(tx: Tx, row: InvoiceRow) -> UUID | None:
    """The latest of an invoice's payments that brought money."""
    return tx.value(
        "select id from payments where customer_id = %(customer_id)s and purpose = %(purpose)s"
        " and terms -> 'goods' ->> 'invoice' = %(invoice)s and captured_minor > 0"
        " order by created_at desc, id desc limit 1",
        {"customer_id": row.customer_id, "purpose": PURPOSE, "invoice": str(row.id)},
    )


def failed(tx: Tx, now: datetime, payment: ServicePayment) -> None:
    """A payment for an invoice ended unpaid; one that failed is a failed try of the invoice, which
    keeps the code that decides what follows: the decline's, or the network's sterner advice."""
    row = find(tx, payment.customer_id, invoice_of(payment))
    if row is None or row.state not in rules.PAYABLE:
        return
    if payment.state == "failed":
        code, advice = payment.error_code or "declined", _advice(tx, payment)
        row = change(
            tx, row, error_code=sterner(code, advice),
            first_failed_at=row.first_failed_at or now,
        )
        emit_many(tx, [event(row, now, "invoice.payment_failed", error_code=code, advice=advice,
                             payment_id=str(payment.key[1]), attempts=row.attempts)])  # fmt: skip
    for hook in _hooks(ON_FAILED):
        hook(tx, now, row, payment)


def _advice(tx: Tx, payment: ServicePayment) -> str | None:
    """What was advised when the payment's last try was declined."""
    return tx.value(
        "select response ->> 'advice' from attempts where customer_id = %(customer_id)s"
        " and payment_id = %(payment_id)s and response is not null"
        " order by created_at desc, id desc limit 1",
        {"customer_id": payment.customer_id, "payment_id": payment.key[1]},
    )


def _hooks(hooks: list[Any]) -> list[Any]:
    importlib.import_module(_ENGINE)
    return hooks


# Payments for invoices ---------------------------------------------------------------------------


def invoice_of(payment: ServicePayment) -> UUID:
    goods: Mapping[str, Any] = (payment.terms or {}).get("goods") or {}
    return UUID(goods["invoice"])


def goods(row: InvoiceRow) -> dict[str, Any]:
    """What a payment for this invoice buys, as its record keeps it."""
    subscription = str(row.subscription_id) if row.subscription_id else None
    return {"invoice": str(row.id), "subscription": subscription}


def name_of(row: InvoiceRow) -> str:
    """What people call it: its number, where it has one by now."""
    return f"Invoice {row.number}" if row.number else "Invoice"


def asked(tx: Tx, customer_id: UUID, invoice_id: UUID) -> InvoiceRow:
    """The invoice, that asks for money. Raises NotFound, InvoiceStateConflict."""
    row = get(tx, customer_id, invoice_id)
    check_ours(row)
    if row.state not in rules.PAYABLE:
        raise InvoiceStateConflict(f"This invoice is {row.state}: nothing is due.")
    return row


def check_ours(row: InvoiceRow) -> None:
    """Raises InvoiceStateConflict for an invoice that the provider collects."""
    if row.runner != "paydesk":
        raise InvoiceStateConflict(
            f"{row.provider} collects this invoice: it is paid and changed there.",
            url=row.hosted_url,
        )


def check_due(tx: Tx, customer_id: UUID, invoice_id: UUID, price: Money) -> InvoiceRow:
    """The invoice as it stands under its customer's lock. Raises InvoiceStateConflict where
    nothing is due, or another sum than was asked."""
    row = asked(tx, customer_id, invoice_id)
    if row.money(row.due_minor) != price:
        raise InvoiceStateConflict("What is due has changed meanwhile; ask again.")
    return row


def begun(tx: Tx, row: InvoiceRow, payment: ServicePayment) -> InvoiceRow:
    """The invoice names the payment that is under way for it."""
    return change(tx, row, payment_id=payment.key[1])


def under_way(tx: Tx, row: InvoiceRow) -> UUID | None:
    """The payment for this invoice that may still bring money."""
    return tx.value(
        "select id from payments where customer_id = %(customer_id)s and payable = %(payable)s"
        " and state = any(%(states)s) order by created_at desc limit 1",
        {"customer_id": row.customer_id, "payable": row.payable,
         "states": sorted(OPEN_STATES | {"authorized"})},
    )  # fmt: skip


def last_payment(tx: Tx, row: InvoiceRow) -> Mapping[str, Any] | None:
    """{id, state, error_code, error_message} of the newest payment for it."""
    return tx.one(
        "select id, state, error_code, error_message from payments"
        " where customer_id = %(customer_id)s and payable = %(payable)s"
        " order by created_at desc, id desc limit 1",
        {"customer_id": row.customer_id, "payable": row.payable},
    )
