"""A refund's postings and what follows on its payment: intended, paid, come back, reversed.

Every step runs inside the caller's transaction, which holds the customer's head, and changes the
refund's row, the books, the goods, the payment and its events together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.errors import Conflict
from paydesk.flows import (
    attempts,
    causes,
    clawback,
    dispute_books,
    ledger,
    note_books,
    refund_views,
)
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.ledger import Entry
from paydesk.flows.refund_views import Row
from paydesk.rules.money import Money
from paydesk.rules.refunds import LIVE_STATES, payment_state
from paydesk.settings import Settings
from paydesk.tracker.models import PAID_STATES
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

#: Who ends a refund that nobody decides any more, and why.
NOBODY = "paydesk"
ALL_GONE = "The whole payment has been refunded otherwise."


def payment_of(tx: Tx, key: tuple[UUID, UUID]) -> ServicePayment:
    """The payment as it stands in this transaction; it exists."""
    found = JoinedStore(tx.conn).get_many([key])[0]
    assert found is not None, "a refund's payment stays"
    return found


def insert(
    tx: Tx, now: datetime, payment: ServicePayment, *, amount: Money, state: str,
    request_key: UUID, request_hash: bytes, metadata: Mapping[str, Any], origin: str = "desk",
    reason: str | None = None, note: str | None = None, forced: bool = False,
    requested_by: str | None = None, persons: Sequence[str] | None = None,
    charge_ref: str | None = None, loss_minor: int = 0, error_code: str | None = None,
) -> Row:  # fmt: skip
    """Write a new refund of a payment; nothing else happens."""
    owner = payment.customer_id
    refund_id = ids.new_owned(owner)
    tx.run(
        "insert into refunds (customer_id, id, payment_id, amount_minor, currency, state, origin,"
        " reason, note, forced, provider, provider_account, requested_by, requested_persons,"
        " charge_ref, loss_minor, txn_id, error_code, metadata, failed_at, clock_id, request_key,"
        " request_hash, created_at)"
        " values (%(customer_id)s, %(id)s, %(payment_id)s, %(amount)s, %(currency)s, %(state)s,"
        " %(origin)s, %(reason)s, %(note)s, %(forced)s, %(provider)s, %(account)s,"
        " %(requested_by)s, %(persons)s, %(charge_ref)s, %(loss)s, %(txn_id)s,"
        " %(error_code)s, %(metadata)s, %(failed_at)s, %(clock_id)s, %(request_key)s,"
        " %(request_hash)s, %(now)s)",
        {
            "customer_id": owner, "id": refund_id, "payment_id": payment.key[1],
            "amount": amount.minor, "currency": amount.currency, "state": state,
            "origin": origin, "reason": reason, "note": note, "forced": forced,
            "provider": payment.provider, "account": payment.provider_account,
            "requested_by": requested_by, "persons": persons, "charge_ref": charge_ref,
            "loss": loss_minor, "txn_id": ids.new_owned(owner),
            "error_code": error_code, "metadata": jsonb(metadata),
            "failed_at": now if state == "failed" else None, "clock_id": payment.clock_id,
            "request_key": request_key, "request_hash": request_hash, "now": now,
        },
    )  # fmt: skip
    return refund_views.row(tx, owner, refund_id)


def name(tx: Tx, row: Row, ref: str, *, is_known_there: bool = True) -> None:
    """Remember what the provider calls a refund; the first to say so wins. Raises Conflict where
    another refund of this customer has that name.

    `is_known_there`: the provider itself knows it by that name, so that its payment is found.
    """
    taken = tx.value(
        "select id from refunds where customer_id = %(customer_id)s and provider = %(provider)s"
        " and provider_account = %(account)s and provider_ref = %(ref)s",
        {"customer_id": row.customer_id, "provider": row.provider,
         "account": row.provider_account, "ref": ref},
    )  # fmt: skip
    if taken not in (None, row.id):
        raise Conflict("Another refund has this reference.")
    tx.run(
        "update refunds set provider_ref = coalesce(provider_ref, %(ref)s)"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": row.customer_id, "id": row.id, "ref": ref},
    )
    if is_known_there:
        attempts.add_refs(
            tx, [(row.provider, row.provider_account, ref, row.customer_id, row.payment_id)]
        )


def begin(
    tx: Tx, now: datetime, row: Row, settings: Settings, *, is_fact: bool,
    cause: Mapping[str, Any],
) -> None:  # fmt: skip
    """Money is on its way back: take the goods back, then move it to `refunds`.

    `row` says what of it is captured money; the rest is a loss once it has left. Raises GoodsUsed
    where that is no fact yet.
    """
    _emit(tx, now, row, "refund.created", "pending", cause)

    def post(payment: ServicePayment) -> None:
        _post_cover(tx, now, row, payment, row.covered_minor)

    settle(
        tx, now, (row.customer_id, row.payment_id), settings, asked=None if is_fact else row.id,
        fresh=Fresh(row.id, row.covered_minor, post),
    )  # fmt: skip


def _post_cover(
    tx: Tx, now: datetime, row: Row, payment: ServicePayment, amount: int
) -> None:
    if amount:
        assert row.txn_id is not None
        parts = dispute_books.sources(tx, payment, row.currency, amount)
        _post(tx, now, row, row.txn_id, [
            (part.account, "refunds", part.amount, "REFUND", None) for part in parts
        ])  # fmt: skip


def pay(tx: Tx, now: datetime, row: Row, payment: ServicePayment) -> None:
    """The money has left: refunds -> clearing, or into the wallet it was paid from; what nothing
    covered is a loss."""
    txn_id = ids.new_owned(row.customer_id)
    if row.provider == "wallet":
        from paydesk.flows import wallets

        key = ids.request_key("refund paid", str(row.id))
        wallets.refund_in(tx, now, payment, row.covered_minor, txn_id, key)
    else:
        _post(tx, now, row, txn_id, [
            ("refunds", "clearing", row.covered_minor, "REFUND_PAID", None),
            ("losses", "clearing", row.loss_minor, "REFUND_LOSS", None),
        ])  # fmt: skip
    _set(tx, row, state="succeeded", succeeded_at=now)
    _emit(tx, now, row, "refund.succeeded", "succeeded")
    _end_asked(tx, now, payment)


def _end_asked(tx: Tx, now: datetime, payment: ServicePayment) -> None:
    """Once the whole of a payment has gone back, nothing is left for refunds that wait to be
    decided: they end, and say why."""
    rows = refund_views.rows_of_payment(tx, payment.key)
    paid = sum(one.amount_minor for one in rows
               if one.state == "succeeded" and one.currency == payment.currency)  # fmt: skip
    waiting = [one for one in rows if one.state == "requested"]
    if not waiting or paid < payment.captured_cents:
        return
    tx.run(
        "update refunds set state = 'canceled', decided_by = %(by)s, decided_at = %(now)s,"
        " decision_note = %(note)s where customer_id = %(customer_id)s and id = any(%(ids)s)",
        {"customer_id": payment.customer_id, "ids": [one.id for one in waiting], "now": now,
         "by": NOBODY, "note": ALL_GONE},
    )  # fmt: skip
    emit_many(tx, [event(one, "refund.canceled", "canceled", now) for one in waiting])
    for one in waiting:
        note_books.refund_ended(tx, now, one.customer_id, one.id)


def reverse(
    tx: Tx, now: datetime, row: Row, settings: Settings, *, code: str, message: str | None
) -> None:
    """The refund failed: books, goods and payment stand as before it. What another refund lost
    for want of cover is covered now."""
    key = (row.customer_id, row.payment_id)
    txn_id = ids.new_owned(row.customer_id)
    if row.state == "succeeded":
        _post(tx, now, row, txn_id, [
            ("clearing", "refunds", row.covered_minor, "REFUND_RETURNED", None),
            ("clearing", "losses", row.loss_minor, "REFUND_RETURNED", None),
        ])  # fmt: skip
    booked = _booked(tx, row)
    _post(tx, now, row, txn_id, [
        ("refunds", one["account"], one["amount"], "REFUND_REVERSAL", one["id"]) for one in booked
    ])  # fmt: skip
    _set(
        tx, row, state="failed", failed_at=now, error_code=code, error_message=message,
        reversal_txn_id=txn_id if booked else None,
    )
    _emit(tx, now, row, "refund.failed", "failed", error_code=code)
    if row.state == "pending":
        note_books.refund_ended(tx, now, row.customer_id, row.id)
    settle(tx, now, key, settings)


@dataclass(frozen=True, slots=True)
class Fresh:
    """A refund or dispute whose row says what captured money covers, but whose money is still to
    move, once its goods are with us: `post` moves it."""

    id: UUID
    covered: int
    post: Callable[[ServicePayment], None]


def settle(
    tx: Tx, now: datetime, key: tuple[UUID, UUID], settings: Settings, *,
    fresh: Fresh | None = None, asked: UUID | None = None,
) -> None:  # fmt: skip
    """Bring a payment's money and goods to where its refunds and disputes want them, whatever of
    them has just come, failed, been paid or won: the same end in whatever order it was heard.

    Captured money that nothing holds covers what was a loss, the oldest first; goods follow the
    covered money; the payment says what is refunded. `asked`: a refund that is no fact yet.
    """
    payment = payment_of(tx, key)
    found = causes.of_payment(tx, payment)
    free, covers = causes.left(payment, found), dict[UUID, int]()
    for one in found:
        if part := min(free, one.loss):
            covers[one.id] = part
            free -= part
    after, gained = [], dict[UUID, int]()
    for one in found:
        later = one.with_cover(covers.get(one.id, 0))
        new = fresh.covered if fresh is not None and fresh.id == one.id else 0
        gained[one.id] = later.goods - one.with_cover(-new).goods
        after.append(later)
    clawback.settle(tx, now, payment, after, settings, gained=gained, asked=asked)
    if fresh is not None:
        fresh.post(payment)
    for one in found:
        if part := covers.get(one.id):
            step = _cover if one.kind == "refund" else dispute_books.cover
            step(tx, now, payment, one.id, part)
    settle_payment(tx, now, key)


def _cover(tx: Tx, now: datetime, payment: ServicePayment, refund_id: UUID, part: int) -> None:
    """Captured money that is there again covers a part of what a refund had lost."""
    row = refund_views.row(tx, payment.customer_id, refund_id)
    _post_cover(tx, now, row, payment, part)
    if row.state == "succeeded":
        _post(tx, now, row, ids.new_owned(row.customer_id), [
            ("refunds", "losses", part, "REFUND_LOSS_COVERED", None)
        ])  # fmt: skip
    _set(tx, row, loss_minor=row.loss_minor - part)


def settle_payment(tx: Tx, now: datetime, key: tuple[UUID, UUID]) -> None:
    """Write the payment's refunded sum and state from its refunds, with the event that says so.
    A person looks where refunds, with disputes or without, took more than was captured."""
    payment = payment_of(tx, key)
    assert payment.state in PAID_STATES, "only what was paid is refunded"
    rows = [r for r in refund_views.rows_of_payment(tx, key) if r.currency == payment.currency]
    total = sum(row.amount_minor for row in rows if row.state in LIVE_STATES)
    lost = sum(one.loss for one in causes.of_payment(tx, payment)) if total else 0
    state = payment_state(payment.captured_cents, total)
    changes: dict[str, Any] = {"refunded_cents": total}
    if lost and payment.review is None:
        changes["review"] = "over_refunded"
    elif not lost and payment.review == "over_refunded":
        changes["review"] = None
    if all(getattr(payment, name) == value for name, value in changes.items()):
        return
    moved = attempts.advance(tx, now, [(payment, state, changes)])[0]
    types = []
    if total != payment.refunded_cents:
        grew = total > payment.refunded_cents
        types.append(f"payment.{state}" if grew else "payment.refund_reversed")
    if changes.get("review"):
        types.append("payment.review")
    emit_many(tx, [
        attempts.state_event(moved, now, type=type, refunded=total, review=moved.review)
        for type in types
    ])  # fmt: skip


def flag(tx: Tx, now: datetime, key: tuple[UUID, UUID], review: str) -> None:
    """Something about a payment's refund needs a person's look."""
    payment = payment_of(tx, key)
    if payment.review is None:
        moved = attempts.advance(tx, now, [(payment, payment.state, {"review": review})])[0]
        emit_many(
            tx, [attempts.state_event(moved, now, type="payment.review", review=review)]
        )


def _booked(tx: Tx, row: Row) -> list[dict[str, Any]]:
    """What a refund took from each account, transfer by transfer."""
    rows = tx.all(
        "select id, debit, amount from transfers where customer_id = %(customer_id)s"
        " and subject_id = %(payment_id)s and asset <> 'CREDIT' and txn_id = %(txn_id)s"
        " and reason = 'REFUND' order by seq",
        {"customer_id": row.customer_id, "payment_id": row.payment_id, "txn_id": row.txn_id},
    )
    return [{**one, "account": ledger.NAMES[one["debit"]]} for one in rows]


def _post(
    tx: Tx, now: datetime, row: Row, txn_id: UUID,
    parts: list[tuple[str, str, int, str, UUID | None]],
) -> None:  # fmt: skip
    ledger.post(
        tx,
        [
            Entry(
                customer_id=row.customer_id, debit=debit, credit=credit, asset=row.currency,
                amount=amount, reason=reason, txn_id=txn_id, subject_id=row.payment_id,
                reverses_id=reverses, reference=ids.show("refund", row.id), effective_at=now,
            )
            for debit, credit, amount, reason, reverses in parts
            if amount
        ],
    )  # fmt: skip


def _set(tx: Tx, row: Row, **values: Any) -> None:
    """Write what changes of a refund; what is not named stays."""
    told = {
        name: values.get(name, getattr(row, name))
        for name in ("state", "succeeded_at", "failed_at", "error_code", "error_message",
                     "reversal_txn_id", "loss_minor")
    }  # fmt: skip
    tx.run(
        "update refunds set state = %(state)s, succeeded_at = %(succeeded_at)s,"
        " failed_at = %(failed_at)s, error_code = %(error_code)s,"
        " error_message = %(error_message)s, reversal_txn_id = %(reversal_txn_id)s,"
        " loss_minor = %(loss_minor)s where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": row.customer_id, "id": row.id, **told},
    )


def _emit(
    tx: Tx, now: datetime, row: Row, type: str, state: str,
    cause: Mapping[str, Any] | None = None, **more: Any,
) -> None:  # fmt: skip
    emit_many(tx, [event(row, type, state, now, cause, **more)])


def event(
    row: Row, type: str, state: str, now: datetime, cause: Mapping[str, Any] | None = None,
    **more: Any,
) -> NewEvent:  # fmt: skip
    """An event about a refund that is in this state by now."""
    data = {
        "payment_id": str(row.payment_id), "amount": row.amount_minor, "currency": row.currency,
        "status": state, "origin": row.origin, "reason": row.reason, "loss": row.loss_minor,
        **{name: value for name, value in more.items() if value is not None},
    }  # fmt: skip
    return NewEvent(
        customer_id=row.customer_id, type=type, subject_id=row.id, data=data, cause=cause, at=now
    )
