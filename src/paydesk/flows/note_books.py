"""Taking a credit note back, when its refund came to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.errors import Conflict
from paydesk.flows import invoice_books, ledger
from paydesk.flows.events import NewEvent, emit_many
from paydesk.rules import invoices as rules

#: Who takes a note back that nobody asks for any more.
NOBODY = "paydesk"


def refund_ended(tx: Tx, now: datetime, customer_id: UUID, refund_id: UUID) -> None:
    """A refund ended before any money went: the note that it was of is taken back with it, unless
    what it gave to the balance is used; that note stays until somebody voids it."""
    note = tx.one(
        "select customer_id, id, invoice_id, currency, amount_minor, tax_minor, balance_minor"
        " from credit_notes where customer_id = %(customer_id)s and refund_id = %(refund_id)s"
        " and state = 'issued'",
        {"customer_id": customer_id, "refund_id": refund_id},
    )
    if note is not None and _covers(tx, note):
        take_back(tx, now, note, NOBODY)


def take_back(tx: Tx, now: datetime, note: Mapping[str, Any], by: str) -> None:
    """Void an issued note; the head is locked. Raises Conflict where its balance is used."""
    row = invoice_books.get(tx, note["customer_id"], note["invoice_id"])
    if not _covers(tx, note):
        raise Conflict("What this note gave to the balance is used already.")
    if given := note["balance_minor"]:
        part = rules.tax_of(given, tax=note["tax_minor"], total=note["amount_minor"])
        invoice_books.post(
            tx, now, row, ids.new_owned(row.customer_id),
            [("balance", "revenue", given - part, "CREDIT_NOTE_VOID"),
             ("balance", "tax", part, "CREDIT_NOTE_VOID")],
            reference=ids.show("credit_note", note["id"]),
        )  # fmt: skip
    invoice_books.change(tx, row, credited_minor=row.credited_minor - note["amount_minor"])
    tx.run(
        "update credit_notes set state = 'void' where customer_id = %(customer_id)s"
        " and id = %(id)s",
        {"customer_id": row.customer_id, "id": note["id"]},
    )
    emit_many(tx, [
        NewEvent(customer_id=row.customer_id, type="credit_note.voided", subject_id=note["id"],
                 data={"invoice_id": str(row.id), "amount": note["amount_minor"],
                       "currency": row.currency}, cause={"actor": by}, at=now)
    ])  # fmt: skip


def _covers(tx: Tx, note: Mapping[str, Any]) -> bool:
    owner, given = note["customer_id"], note["balance_minor"]
    return not given or ledger.balances(tx, [owner], "balance", note["currency"])[owner] >= given
