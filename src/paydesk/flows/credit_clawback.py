"""Credits of a payment are taken back from its very batches, and given back to the same ones.

What a share asks for is taken from unspent credits first; what ended unused is not asked twice;
the rest is owed on the batch or forgiven. Giving back undoes exactly that: what is still owed is
struck out, what was repaid meanwhile goes back to where it was repaid from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.flows import ledger, sales
from paydesk.flows.credit_grants import Moves, settle
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.ledger import BatchRow, Entry
from paydesk.rules.credits import take_at
from paydesk.rules.ledger import CREDIT
from paydesk.rules.refunds import (
    BatchState,
    Share,
    Unused,
    batch_share,
    by_policy,
    pooled_shares,
    share_of,
    with_unused,
)
from paydesk.settings import Settings
from paydesk.tracker.stores.joined import ServicePayment

TAKEN, GIVEN = "CREDIT_CLAWBACK", "CREDIT_CLAWBACK_REVERSAL"
#: What marks a taking for a change of plan, and its undoing.
CHANGE = "change"
#: What marks a transfer to the debt account as a repayment, whatever its reason.
REPAID = "debt repaid"


@dataclass(slots=True)
class Batch:
    """A batch that a payment made, with those that took its place after it had ended."""

    id: UUID
    kind: str
    origin: str | None
    granted: int
    remaining: int
    owed: int
    expires_at: datetime | None
    payment_id: UUID | None
    expired: int = 0
    gone: int = 0
    gone_expired: int = 0
    changed: int = 0
    unused: Unused | None = None
    heirs: list[Batch] = field(default_factory=list)

    @property
    def all(self) -> list[Batch]:
        return [self, *self.heirs]

    @property
    def state(self) -> BatchState:
        return BatchState(
            granted=self.granted, spare=sum(b.remaining for b in self.all),
            expired=sum(b.expired for b in self.all),
            gone=self.gone + self.changed, gone_expired=self.gone_expired,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """What a share would take of each batch."""

    parts: Sequence[tuple[Batch, Share]]

    @property
    def taken(self) -> int:
        return sum(share.taken for _, share in self.parts)

    @property
    def missing(self) -> int:
        return sum(share.missing for _, share in self.parts)

    @property
    def expired(self) -> int:
        return sum(share.expired for _, share in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was asked of credits and became of it; `detail` is what giving back needs."""

    asked: int
    taken: int
    owed: int
    forgiven: int
    txn_id: UUID | None
    detail: Mapping[str, Any]


def plan(
    tx: Tx, payment: ServicePayment, sold: int, refunded: int, at: datetime
) -> Plan | None:
    """What is to be taken once `refunded` of the sale went back in all; None where the payment
    made no credits. Reads only."""
    batches = _batches(tx, payment, at)
    if not batches:
        return None
    pool = _pool(batches)
    parts = [(one, batch_share(one.state, sold, refunded)) for one in batches if one not in pool]
    if pool:
        wanted = _wanted(pool, sold, refunded) - sum(one.state.gone for one in pool)
        parts += zip(pool, pooled_shares([one.state for one in pool], wanted), strict=True)
    return Plan(parts)


def _pool(batches: Sequence[Batch]) -> list[Batch]:
    """Those of a subscription that was given up, with its rest refunded, the newest first."""
    return [one for one in reversed(batches) if one.unused is not None]


def _wanted(pool: Sequence[Batch], sold: int, refunded: int) -> int:
    unused = pool[0].unused
    assert unused is not None
    return with_unused(sum(one.granted for one in pool), sold, refunded, unused)


def asked_of(tx: Tx, payment: ServicePayment, at: datetime) -> int:
    """How many credits of a membership were asked of this payment by now."""
    return sum(one.state.gone for one in _batches(tx, payment, at) if one.kind == "membership")


def is_too_much(
    tx: Tx, payment: ServicePayment, sold: int, refunded: int, at: datetime
) -> bool:
    """Whether more was asked of a batch than `refunded` of the sale stands for."""
    batches = _batches(tx, payment, at)
    if pool := _pool(batches):
        gone = sum(one.state.gone for one in pool)
        if any(one.gone for one in pool) and gone > _wanted(pool, sold, refunded):
            return True
    return any(
        one.gone > share_of(one.granted, sold, refunded) for one in batches if one not in pool
    )


def take(
    tx: Tx, now: datetime, payment: ServicePayment, sold: int, refunded: int, policy: str,
    cause: str, cause_id: UUID, settings: Settings,
) -> Done | None:  # fmt: skip
    """Take the share back, None where there is nothing to ask. The head is locked; what is missing
    is owed unless `policy` is clamp. What is stated of credits that come back after their end is
    kept with it."""
    owner = payment.customer_id
    settle(tx, [owner], now)
    at = ledger.last_instant(tx, owner, now)
    found = plan(tx, payment, sold, refunded, at)
    if found is None or not any(share.share for _, share in found.parts):
        return None
    moves, parts = Moves(now), []
    txn_id = ids.new_owned(owner)
    base = Entry(
        id=txn_id, customer_id=owner, debit="credits", credit="issued", asset=CREDIT,
        amount=found.taken, reason=TAKEN, txn_id=txn_id, subject_id=payment.key[1],
        reference=payment.reference, note=cause, effective_at=at,
    )  # fmt: skip
    if found.taken:
        moves.entries.append(base)
    for batch, share in found.parts:
        owed, forgiven = by_policy(share.missing, policy)
        drawn = _draw(moves, base, batch, share.taken)
        owed_id = _owe(moves, base, batch, owed)
        parts.append({
            "batch": str(batch.id), "share": share.share, "taken": share.taken,
            "expired": share.expired, "owed": owed, "forgiven": forgiven, "draws": drawn,
            "owed_transfer": str(owed_id) if owed_id else None,
        })  # fmt: skip
    moves.write(tx)
    owed, forgiven = by_policy(found.missing, policy)
    balance = ledger.balances(tx, [owner], "credits")[owner]
    if found.taken or found.missing:
        data = {
            "amount": found.taken, "owed": owed, "forgiven": forgiven, "expired": found.expired,
            "balance": balance, "transfer_id": str(txn_id), "cause": cause,
            "cause_id": ids.show(cause, cause_id),
        }  # fmt: skip
        emit_many(tx, [_event("credits.clawed_back", payment.key, data, now)])
    return Done(
        asked=found.taken + found.missing, taken=found.taken, owed=owed, forgiven=forgiven,
        txn_id=txn_id if moves.entries else None,
        detail={"batches": parts, "grace_days": settings.refund_grace_days,
                "order": settings.credit_order},
    )  # fmt: skip


def give(
    tx: Tx, now: datetime, key: tuple[UUID, UUID], detail: Mapping[str, Any], cause: str,
    cause_id: UUID, *, is_told: bool = True,
) -> UUID | None:  # fmt: skip
    """Undo a `take` by its detail: the very draws, and the debts that it made. The head is locked.

    `is_told`: an event about the payment says so. Answers the transaction, None where there was
    nothing to undo.
    """
    owner, parts = key[0], detail["batches"]
    if not any(one["taken"] or one["owed"] for one in parts):
        return None
    settle(tx, [owner], now)
    at = ledger.last_instant(tx, owner, now)
    back = _Back(tx, now, at, key, detail)
    for one in parts:
        back.undo(one)
    back.write()
    data = {
        "amount": back.credits, "canceled": back.canceled, "lapsed": back.lapsed,
        "balance": ledger.balances(tx, [owner], "credits")[owner],
        "transfer_id": str(back.txn_id), "cause": cause,
        "cause_id": ids.show(cause, cause_id),
    }  # fmt: skip
    if is_told:
        emit_many(tx, [_event("credits.reinstated", key, data, now)])
    return back.txn_id


def _batches(tx: Tx, payment: ServicePayment, at: datetime) -> list[Batch]:
    """The batches that the payment made, oldest first, each with its heirs and what was asked of
    it before. One that has ended by `at` counts as booked. Of what several payments of an invoice
    made together a batch has the payment's part."""
    among = sales.together(tx, payment)
    start, end, whole = sales.part(tx, payment, among)
    values = {"customer_id": payment.customer_id, "payments": among,
              "payment": str(payment.key[1])}  # fmt: skip
    rows = tx.all(
        "select b.id, b.kind, b.origin, b.granted, b.remaining, b.owed, b.payment_id, b.source_id,"
        " nullif(b.expires_at, 'infinity') as expires_at, coalesce((select sum(t.amount)"
        "  from transfers t where t.customer_id = %(customer_id)s and t.subject_id = b.id"
        "  and t.asset = 'CREDIT' and t.credit = 8), 0)::bigint as expired,"
        # What a change of plan took, whose money paid for the next one: it is not asked twice.
        " case when b.kind = 'membership' then coalesce((select sum(d.amount) from draws d"
        "  join transfers t on t.customer_id = d.customer_id and t.id = d.transfer_id"
        "  where d.customer_id = %(customer_id)s and d.batch_id = b.id and t.note = 'change'),"
        "  0)::bigint else 0 end as changed,"
        # What the customer's balance had paid of an invoice bought its part of its credits.
        " case when b.kind = 'membership' then (select jsonb_build_array(v.paid_minor,"
        "  v.balance_minor) from invoices v where v.customer_id = %(customer_id)s"
        "  and v.payment_id = any(%(payments)s) and v.state = 'paid' and v.paid_minor > 0"
        "  and v.balance_minor > 0 limit 1) end as paid,"
        # What was left of its time went back when the subscription was given up.
        " case when b.kind = 'membership' then (select s.told -> 'unused' -> %(payment)s"
        "  from subscriptions s where s.customer_id = %(customer_id)s and s.id = b.source_id"
        "  limit 1) end as unused"
        " from batches b where b.customer_id = %(customer_id)s and b.payment_id = any(%(payments)s)"
        " order by b.granted_at, b.id",
        values,
    )
    source = {row["id"]: row.pop("source_id") for row in rows}
    for row in rows:
        came, balance = row.pop("paid") or (1, 0)
        bought = share_of(row["granted"], came + balance, came)
        row["granted"] = share_of(bought, whole, end) - share_of(bought, whole, start)
        row["unused"] = Unused(*row["unused"]) if row["unused"] else None
    found = {row["id"]: Batch(**row) for row in rows}
    for one in found.values():
        if one.expires_at is not None and one.expires_at <= at:
            one.expired, one.remaining = one.expired + one.remaining, 0
    roots: dict[UUID, Batch] = {}
    for one in found.values():
        root = one.id
        while source.get(root) in found:
            root = source[root]
        if root == one.id:
            roots[root] = one
        else:
            found[root].heirs.append(one)
            found[root].changed += one.changed
    before = tx.all(
        "select payment_id, detail from clawbacks where customer_id = %(customer_id)s"
        " and payment_id = any(%(payments)s) and goods = 'credits' and reversed_at is null",
        values,
    )
    for row in before:
        for part in row["detail"]["batches"]:
            one = roots[UUID(part["batch"])]
            if row["payment_id"] == payment.key[1]:
                one.gone += part["share"]
            one.gone_expired += part["expired"]
    return list(roots.values())


def _draw(moves: Moves, base: Entry, batch: Batch, amount: int) -> list[list[Any]]:
    """Take from a batch and then from its heirs; answers [batch, amount] of each draw."""
    drawn: list[list[Any]] = []
    assert base.id is not None
    for one in batch.all:
        if part := min(one.remaining, amount):
            moves.draws.append((base.customer_id, base.id, one.id, part))
            drawn.append([str(one.id), part])
            amount -= part
    assert amount == 0, "a share takes no more than is there"
    return drawn


def _owe(moves: Moves, base: Entry, batch: Batch, amount: int) -> UUID | None:
    if not amount:
        return None
    made = base.txn_id if not moves.entries else ids.new_owned(base.customer_id)
    moves.entries.append(
        replace(base, id=made, debit="debt", amount=amount, subject_id=batch.id)
    )
    moves.owes.append((base.customer_id, batch.id, amount))
    return made


class _Back:
    """One giving back while it is worked out."""

    def __init__(
        self, tx: Tx, now: datetime, at: datetime, key: tuple[UUID, UUID],
        detail: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.tx, self.at, self.order, self.detail = tx, at, detail["order"], detail
        self.grace = timedelta(days=detail["grace_days"])
        self.owner, self.payment_id = key
        self.moves = Moves(now)
        self.txn_id = ids.new_owned(self.owner)
        self.credits = self.canceled = self.lapsed = 0

    def undo(self, part: Mapping[str, Any]) -> None:
        """What one batch gave: its debt first, then its credits."""
        batch_id = UUID(part["batch"])
        standing = self._row(batch_id)["owed"]
        if part["owed"]:
            struck = min(part["owed"], standing)
            self._entry("issued", "debt", part["owed"], batch_id,
                        reverses=UUID(part["owed_transfer"]))  # fmt: skip
            self.canceled += struck
            standing -= struck
            if struck:
                self.moves.owes.append((self.owner, batch_id, -struck))
            if repaid := part["owed"] - struck:
                self._unpay(batch_id, repaid)
        # Another refund or dispute may still be owed on this batch.
        pays = min(standing, part["taken"])
        if pays:
            self._entry("issued", "debt", pays, batch_id, note=REPAID)
            self.moves.owes.append((self.owner, batch_id, -pays))
            self.canceled += pays
        for drawn_from, amount in reversed(part["draws"]):
            kept = min(pays, amount)
            pays -= kept
            self._put_back("issued", UUID(drawn_from), amount - kept)

    def _unpay(self, batch_id: UUID, amount: int) -> None:
        """A debt that was repaid meanwhile was none: what repaid it goes back, the latest first."""
        rows = self.tx.all(
            "with paid as materialized (select t.id, t.seq, t.debit, t.amount from transfers t"
            "  where t.customer_id = %(customer_id)s and t.asset = 'CREDIT' and t.credit = 4"
            "  and t.subject_id = %(batch)s and (t.reason <> 'CREDIT_CLAWBACK_REVERSAL'"
            "   or t.note = 'debt repaid'))"
            " select p.id, p.debit, p.amount - coalesce((select sum(x.amount) from transfers x"
            "   where x.customer_id = %(customer_id)s and x.reverses_id = p.id"
            "   and x.reason = 'CREDIT_CLAWBACK_REVERSAL'), 0)::bigint as left,"
            "  (select d.batch_id from draws d where d.customer_id = %(customer_id)s"
            "   and d.transfer_id = p.id limit 1) as drawn_from"
            " from paid p order by p.seq desc",
            {"customer_id": self.owner, "batch": batch_id},
        )
        for row in rows:
            if part := min(amount, row["left"]):
                self._put_back("debt", row["drawn_from"] or batch_id, part, reverses=row["id"])
                amount -= part
        assert amount == 0, "a debt shrinks by repayments only"

    def _put_back(
        self, source: str, batch_id: UUID, amount: int, reverses: UUID | None = None
    ) -> None:
        """Credits return to a batch; where it has ended, one with the stated grace replaces it."""
        if not amount:
            return
        row = self._row(batch_id)
        self.credits += amount
        if row["expires_at"] is None or row["expires_at"] > self.at:
            # Its subject is no batch: that would mean that it had filled one.
            made = self._entry(source, "credits", amount, self.payment_id, reverses=reverses,
                               note=self.detail.get("note"))  # fmt: skip
            self.moves.draws.append((self.owner, made, batch_id, -amount))
            return
        new = BatchRow(
            customer_id=self.owner, id=self.moves.new_batch_id(self.owner), kind="refunded",
            amount=amount, granted_at=self.at, expires_at=self.at + self.grace,
            take_at=take_at(self.order, self.at, self.at + self.grace),
            origin=row["origin"] or row["kind"], payment_id=row["payment_id"], source_id=batch_id,
        )  # fmt: skip
        self.moves.rows.append(new)
        self._entry(source, "credits", amount, new.id, reverses=reverses)
        if not self.grace:
            gone = self._entry("credits", "breakage", amount, new.id, reason="CREDIT_EXPIRY")
            self.moves.draws.append((self.owner, gone, new.id, amount))
            self.lapsed += amount
            self.credits -= amount

    def _entry(
        self, debit: str, credit: str, amount: int, subject: UUID, *, reason: str = GIVEN,
        reverses: UUID | None = None, note: str | None = None,
    ) -> UUID:  # fmt: skip
        made = ids.new_owned(self.owner) if self.moves.entries else self.txn_id
        self.moves.entries.append(Entry(
            id=made, customer_id=self.owner, debit=debit, credit=credit, asset=CREDIT,
            amount=amount, reason=reason, txn_id=self.txn_id, subject_id=subject,
            reverses_id=reverses, note=note, effective_at=self.at,
        ))  # fmt: skip
        return made

    def _row(self, batch_id: UUID) -> dict[str, Any]:
        row = self.tx.one(
            "select kind, origin, owed, payment_id, nullif(expires_at, 'infinity') as expires_at"
            " from batches where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": self.owner, "id": batch_id},
        )
        assert row is not None, "batches stay for ever"
        return row

    def write(self) -> None:
        self.moves.write(self.tx)


def _event(
    type: str, key: tuple[UUID, UUID], data: Mapping[str, Any], now: datetime
) -> NewEvent:
    return NewEvent(customer_id=key[0], type=type, subject_id=key[1], data=data, at=now)
