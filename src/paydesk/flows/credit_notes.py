"""Credit notes: what is given back of a finalized invoice, tied to the refund that carries it.

The note, its postings and the refund's intention are one transaction; the provider is called after
it, as for any refund.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import (
    Conflict,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    PaydeskError,
)
from paydesk.flows import (
    heads,
    invoice_books,
    invoice_numbers,
    invoice_views,
    note_books,
    refund_views,
    refunds,
)
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.invoice_books import InvoiceRow
from paydesk.flows.refunds import WantRefund
from paydesk.rules import fields
from paydesk.rules import invoices as rules
from paydesk.rules.money import Money
from paydesk.rules.promo import charge_step
from paydesk.rules.refunds import ENDED_STATES, LIVE_STATES
from paydesk.tracker.stores.joined import JoinedStore

MOST_ITEMS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNote:
    """What is given back. `amount` has its tax in it; None: all that is left. `refund` goes to the
    payer, `balance` to the customer's balance. `items`: (line of the invoice, amount), that make
    up the amount. `by` and `persons`: who does it."""

    customer_id: UUID
    invoice_id: UUID
    amount: Money | None = None
    refund: Money | None = None
    balance: Money | None = None
    items: Sequence[tuple[UUID, int]] = ()
    reason: str | None = None
    memo: str | None = None
    by: str
    actor_role: str = "admin"
    persons: Sequence[str] | None = None
    force: bool = False
    request_key: UUID


@dataclass(frozen=True, slots=True)
class Begun:
    """A note that is written, and its refund that is still to be sent, where it has one."""

    customer_id: UUID
    note_id: UUID
    refund: refunds._Begun | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteView:
    """A credit note. amount = refunded + balance + written_off; `tax` is in it. `refund_status` is
    the refund's: what it could not pay back is owed still, until the note is void."""

    id: UUID
    customer_id: UUID
    invoice_id: UUID
    number: str | None
    status: str
    reason: str | None
    memo: str | None
    amount: Money
    tax: Money
    refunded: Money
    balance: Money
    written_off: Money
    items: list[dict[str, Any]]
    refund_id: UUID | None
    refund_status: str | None
    created_by: str | None
    created_at: datetime

    def __repr__(self) -> str:
        name = self.number or ids.show("credit_note", self.id)
        return f"<CreditNote {name} {self.amount}>"


def create(env: Env, what: NewNote) -> NoteView:
    """Give back. Safe to repeat with one key.

    Raises NotFound, InvalidRequest, Conflict for a draft or void invoice, IdempotencyKeyReused,
    and what a refund raises, with nothing done.
    """
    with env.db.transaction(what.customer_id) as tx:
        now = heads.decide(tx, env.now(), what.customer_id)
        found = _of_request(tx, what, is_same=True)
        begun = (Begun(what.customer_id, found, None) if found is not None
                 else begin(env, tx, now, what))  # fmt: skip
        crash.at("refund_before_commit")
    crash.at("refund_after_commit")
    carry_on(env, begun)
    return get(env, what.customer_id, begun.note_id)


def begin(env: Env, tx: Tx, now: datetime, what: NewNote) -> Begun:
    """`create` inside the transaction of a caller who knows that the key is new; `carry_on` takes
    the answer once that is committed."""
    note_id, refund = _write(env, tx, now, what)
    return Begun(what.customer_id, note_id, refund)


def carry_on(env: Env, begun: Begun) -> None:
    """Send the refund of a note that was begun, and draw its number."""
    if begun.refund is not None:
        refunds.carry_on(env, begun.refund)
    try:
        invoice_numbers.number(env, begun.customer_id, begun.note_id, invoice_numbers.NOTES)
    except PaydeskError:  # Nobody waits for a number: the sweep draws it.
        invoice_numbers.log.info("a number is drawn later", credit_note=str(begun.note_id))


def left_of(tx: Tx, customer_id: UUID, invoice_id: UUID) -> int:
    """What of an invoice is not given back yet, in minor units."""
    row = invoice_books.get(tx, customer_id, invoice_id)
    return row.total_minor - row.credited_minor - _refundable(tx, row)[1]


def given_to_balance(tx: Tx, customer_id: UUID, note_id: UUID) -> int:
    """What of a note went to the customer's balance, in minor units."""
    return tx.value(
        "select balance_minor from credit_notes where customer_id = %(customer_id)s"
        " and id = %(id)s",
        {"customer_id": customer_id, "id": note_id},
    )


def write_off(
    env: Env, tx: Tx, now: datetime, row: InvoiceRow, reason: str, minor: int
) -> InvoiceRow:
    """Ask for so much less of what an open invoice has due, by a credit note: of all of it, it is
    paid then. Once; the head is locked. Answers the invoice."""
    what = NewNote(
        customer_id=row.customer_id, invoice_id=row.id, amount=row.money(minor),
        reason=reason, by="desk", request_key=ids.request_key("write off", str(row.id)),
    )
    if _of_request(tx, what) is None:
        _write(env, tx, now, what)
    return invoice_books.get(tx, row.customer_id, row.id)


def to_balance(tx: Tx, now: datetime, row: InvoiceRow, reason: str) -> None:
    """Put all that is left of a paid invoice on the customer's balance, by a credit note. Once; the
    head is locked."""
    left = row.money(left_of(tx, row.customer_id, row.id))
    what = NewNote(
        customer_id=row.customer_id, invoice_id=row.id, amount=left, balance=left, reason=reason,
        by="desk", request_key=ids.request_key("to balance", str(row.id)),
    )
    if left.minor <= 0 or _of_request(tx, what) is not None:
        return
    given, tax = _divide(tx, row, what)
    note_id = ids.new_owned(row.customer_id)
    txn_id = _post(tx, now, row, given, tax, note_id)
    _insert(tx, now, row, what, given, tax, note_id, None, txn_id)
    invoice_books.change(tx, row, credited_minor=row.credited_minor + given.amount)


def _of_request(tx: Tx, what: NewNote, *, is_same: bool = False) -> UUID | None:
    """The note of this key. Raises IdempotencyKeyReused for another invoice's, and with `is_same`
    for another sum than is asked for."""
    row = tx.one(
        "select id, invoice_id, amount_minor, refunded_minor, balance_minor from credit_notes"
        " where customer_id = %(customer_id)s and request_key = %(key)s",
        {"customer_id": what.customer_id, "key": what.request_key},
    )
    if row is None:
        return None
    sums = [("amount_minor", what.amount), ("refunded_minor", what.refund),
            ("balance_minor", what.balance)]  # fmt: skip
    differs = is_same and any(
        asked is not None and row[name] != asked.minor for name, asked in sums
    )
    if row["invoice_id"] != what.invoice_id or differs:
        raise IdempotencyKeyReused("This key stands for another credit note.")
    return row["id"]


def _write(
    env: Env, tx: Tx, now: datetime, what: NewNote
) -> tuple[UUID, refunds._Begun | None]:
    """Note, postings, and the refund's beginning."""
    row = invoice_books.get(tx, what.customer_id, what.invoice_id)
    if row.state in ("draft", "void"):
        raise Conflict(f"This invoice is {row.state}: nothing of it can be given back.")
    if row.total_minor <= 0:
        raise Conflict("This invoice asked for nothing.")
    given, tax = _divide(tx, row, what)
    if row.state != "paid" or given.balance:
        # What the provider asks for, and the balance that pays it, are the provider's.
        invoice_books.check_ours(row)
    note_id, begun, refund_id = ids.new_owned(row.customer_id), None, None
    if given.refund:
        begun = refunds.ask_in(env, tx, now, _want(row, what, given.refund, note_id))
        refund_id = begun[0].id
    txn_id = _post(tx, now, row, given, tax, note_id)
    _insert(tx, now, row, what, given, tax, note_id, refund_id, txn_id)
    values: dict[str, Any] = {"credited_minor": row.credited_minor + given.amount}
    if row.state != "paid":
        values["due_minor"] = row.due_minor - given.written_off
    after = invoice_books.change(tx, row, **values)
    if after.state != "paid" and after.due_minor == 0:
        invoice_books.settle_nothing_due(tx, now, after, env.settings)
    return note_id, begun


def _divide(tx: Tx, row: InvoiceRow, what: NewNote) -> tuple[rules.Note, int]:
    """How much to whom, and the tax in it."""
    for name in ("amount", "refund", "balance"):
        one = getattr(what, name)
        if one is not None and one.currency != row.currency:
            raise InvalidRequest(f"This invoice is in {row.currency}.", param=name)
    refundable, elsewhere = _refundable(tx, row)
    left = row.total_minor - row.credited_minor - elsewhere
    if row.state != "paid" and invoice_books.under_way(tx, row):
        raise Conflict("A payment for this invoice is under way.")
    asked = what.amount.minor if what.amount else sum(part for _, part in what.items) or left
    refund = what.refund.minor if what.refund is not None else None
    if row.state == "paid" and refund is None and what.balance is None:
        # A last digit that cards do not carry (KWD in hundredths) goes to the balance.
        refund = min(refundable, asked) // charge_step(row.currency) * charge_step(row.currency)
    given = rules.note(
        asked, refund=refund,
        balance=what.balance.minor if what.balance else None, left=left, due=row.due_minor,
        refundable=refundable, is_paid=row.state == "paid",
    )  # fmt: skip
    tax = rules.credit_tax(
        amount=given.amount, credited=row.credited_minor, tax=row.tax_minor, total=row.total_minor
    )
    return given, tax


def _refundable(tx: Tx, row: InvoiceRow) -> tuple[int, int]:
    """(what can go back to the payer, what went back without a credit note)."""
    if row.payment_id is None or row.state != "paid" or not row.paid_minor:
        return 0, 0
    payment = JoinedStore(tx.conn).get_many([(row.customer_id, row.payment_id)])[0]
    assert payment is not None, "an invoice's payment stays"
    noted = tx.value(
        "select coalesce(sum(r.amount_minor), 0)::bigint from credit_notes n join refunds r"
        " on r.customer_id = n.customer_id and r.id = n.refund_id"
        " where n.customer_id = %(customer_id)s and n.invoice_id = %(id)s"
        " and n.state = 'issued' and r.state = any(%(live)s)",
        {"customer_id": row.customer_id, "id": row.id, "live": sorted(LIVE_STATES)},
    )
    return refund_views.left(tx, payment), max(0, payment.refunded_cents - noted)


def _want(row: InvoiceRow, what: NewNote, amount: int, note_id: UUID) -> WantRefund:
    assert row.payment_id is not None, "only what a payment brought is refunded"
    key = ids.request_key("credit note", str(what.request_key))
    return WantRefund(
        customer_id=row.customer_id, payment_id=row.payment_id, by=what.by, request_key=key,
        request_hash=hashlib.sha256(str(what.request_key).encode()).digest(),
        amount=row.money(amount), reason=what.reason, note=what.memo, persons=what.persons,
        actor_role=what.actor_role, force=what.force,
        metadata={"credit_note_id": ids.show("credit_note", note_id),
                  "invoice_id": ids.show("invoice", row.id)},
    )  # fmt: skip


def _post(
    tx: Tx, now: datetime, row: InvoiceRow, given: rules.Note, tax: int, note_id: UUID
) -> UUID | None:
    """The balance gets its part: out of revenue and tax, or back what it had paid."""
    if not given.balance:
        return None
    txn_id = ids.new_owned(row.customer_id)
    if row.state == "paid":
        part = rules.tax_of(given.balance, tax=tax, total=given.amount)
        moves = [("revenue", "balance", given.balance - part, "CREDIT_NOTE"),
                 ("tax", "balance", part, "CREDIT_NOTE_TAX")]  # fmt: skip
    else:
        moves = [("deposits", "balance", given.balance, "INVOICE_CREDITED")]
    shown = ids.show("credit_note", note_id)
    invoice_books.post(tx, now, row, txn_id, sorted(moves, key=lambda m: -m[2]), reference=shown)
    return txn_id


def _insert(
    tx: Tx, now: datetime, row: InvoiceRow, what: NewNote, given: rules.Note, tax: int,
    note_id: UUID, refund_id: UUID | None, txn_id: UUID | None,
) -> None:  # fmt: skip
    tx.run(
        "insert into credit_notes (customer_id, id, invoice_id, reason, memo, currency,"
        " amount_minor, tax_minor, refunded_minor, balance_minor, written_off_minor, items,"
        " refund_id, txn_id, created_by, request_key, clock_id, created_at) values"
        " (%(customer_id)s, %(id)s, %(invoice_id)s, %(reason)s, %(memo)s, %(currency)s,"
        " %(amount)s, %(tax)s, %(refund)s, %(balance)s, %(written_off)s, %(items)s,"
        " %(refund_id)s, %(txn_id)s, %(by)s, %(key)s, %(clock_id)s, %(now)s)",
        {
            "customer_id": row.customer_id, "id": note_id, "invoice_id": row.id, "now": now,
            "reason": fields.optional_text(what.reason, "reason", most=255),
            "memo": fields.optional_text(what.memo, "memo", most=1000),
            "currency": row.currency, "amount": given.amount, "tax": tax, **asdict(given),
            "items": jsonb(_items(tx, row, what, given.amount)), "refund_id": refund_id,
            "txn_id": txn_id, "by": what.by, "key": what.request_key, "clock_id": row.clock_id,
        },
    )  # fmt: skip
    data = {
        "invoice_id": str(row.id), "amount": given.amount, "currency": row.currency,
        "refunded": given.refund, "balance": given.balance, "written_off": given.written_off,
        "reason": what.reason,
    }  # fmt: skip
    emit_many(tx, [
        NewEvent(customer_id=row.customer_id, type="credit_note.created", subject_id=note_id,
                 data=data, cause={"actor": what.by}, at=now)
    ])  # fmt: skip


def _items(tx: Tx, row: InvoiceRow, what: NewNote, amount: int) -> list[dict[str, Any]]:
    """The lines that it is about. They make up the amount."""
    if not what.items:
        return []
    if len(what.items) > MOST_ITEMS:
        raise InvalidRequest(f"At most {MOST_ITEMS} lines.", param="items")
    known = {one.id: one for one in invoice_views.items_of(tx, row.customer_id, row.id)}
    if any(item not in known or part <= 0 for item, part in what.items):
        raise InvalidRequest("A line is the invoice's, and its amount above zero.", param="items")
    if sum(part for _, part in what.items) != amount:
        raise InvalidRequest("The lines make up the amount.", param="items")
    return [
        {"item": str(item), "description": known[item].description, "amount": part}
        for item, part in what.items
    ]


def void(env: Env, customer_id: UUID, note_id: UUID, *, by: str) -> NoteView:
    """Take a note back whose refund came to nothing after all: what it gave to the balance is
    taken from there. Safe to repeat. Raises NotFound, Conflict where the refund lives or the
    balance is used.
    """
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        note = tx.one(
            _ROWS + " where n.customer_id = %(customer_id)s and n.id = %(id)s",
            {"customer_id": customer_id, "id": note_id},
        )
        if note is None:
            raise NotFound(f"No such credit note: {ids.show('credit_note', note_id)}.")
        if note["status"] == "issued":
            if note["refund_status"] not in ENDED_STATES:
                raise Conflict("Only a credit note whose refund came to nothing is taken back.")
            note_books.take_back(tx, now, note, by)
    return get(env, customer_id, note_id)


# Reading ---------------------------------------------------------------------------------------

_ROWS = (
    "select n.customer_id, n.id, n.invoice_id, n.number, n.state as status, n.reason, n.memo,"
    " n.currency, n.amount_minor, n.tax_minor, n.refunded_minor, n.balance_minor,"
    " n.written_off_minor, n.items, n.refund_id, n.created_by, n.created_at,"
    " (select state from refunds r where r.customer_id = n.customer_id and r.id = n.refund_id)"
    "  as refund_status from credit_notes n"
)
_MONEY = ("amount", "tax", "refunded", "balance", "written_off")


def _view(row: Mapping[str, Any]) -> NoteView:
    told = dict(row)
    currency = told.pop("currency")
    money: dict[str, Any] = {n: Money(told.pop(f"{n}_minor"), currency, minor=True) for n in _MONEY}
    return NoteView(**told, **money)


def get(env: Env, customer_id: UUID | None, ref: str | UUID) -> NoteView:
    """The note of an id. Another customer's answers NotFound."""
    note_id = ids.parse("credit_note", ref) if isinstance(ref, str) else ref
    owner = ids.customer_of(note_id)
    with env.db.read() as tx:
        row = tx.one(
            _ROWS + " where n.customer_id = %(customer_id)s and n.id = %(id)s",
            {"customer_id": owner, "id": note_id},
        )
    if row is None or customer_id not in (None, owner):
        raise NotFound(f"No such credit note: {ids.show('credit_note', note_id)}.")
    return _view(row)


def list_(
    env: Env, customer_id: UUID | None = None, *, invoice_id: UUID | None = None,
    limit: int = 20, after: UUID | None = None,
) -> list[NoteView]:  # fmt: skip
    """Credit notes, newest first: a customer's, an invoice's, or everybody's.

    `after`: a note's id, older than that.
    """
    if invoice_id is not None:
        owner = ids.customer_of(invoice_id)
        if customer_id not in (None, owner):
            raise NotFound(f"No such invoice: {ids.show('invoice', invoice_id)}.")
        customer_id = owner
    mark = get(env, customer_id, after) if after is not None else None
    values = {
        "customer_id": customer_id, "invoice_id": invoice_id, "limit": limit,
        "cursor": mark.id if mark else None, "cursor_at": mark.created_at if mark else None,
    }  # fmt: skip
    with env.db.read() as tx:
        rows = tx.all(_ONES if customer_id is not None else _EVERYBODYS, values)
    return [_view(row) for row in rows]


_FILTERS = (
    " and (%(invoice_id)s::uuid is null or n.invoice_id = %(invoice_id)s::uuid)"
    " and (%(cursor)s::uuid is null"
    "  or (n.created_at, n.id) < (%(cursor_at)s::timestamptz, %(cursor)s::uuid))"
    " order by n.created_at desc, n.id desc limit %(limit)s"
)
_ONES = _ROWS + " where n.customer_id = %(customer_id)s" + _FILTERS
_EVERYBODYS = _ROWS + " where true" + _FILTERS
