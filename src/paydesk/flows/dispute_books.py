"""A dispute's money: withdrawn from where it stood, covered later, and given back by the reverses.

`postings` of a dispute remember which transfers took what: kind (money, cover or fee), account,
amount, back (how much came again), transfer, and of withdrawn money `left`, which moved it on. A
cover moves a part of the loss `of` that posting to an account of the payment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.flows import ledger
from paydesk.flows.ledger import Entry
from paydesk.rules.disputes import Posting, unwind
from paydesk.rules.refunds import Source, from_accounts, with_tax
from paydesk.tracker.stores.joined import ServicePayment

#: Where a payment's money stands, in the order in which it goes back; `with_tax` says how much of
#: the tax goes with it.
ACCOUNTS = ("deposits", "deferred", "revenue", "tax")
#: A loss that captured money covers by now.
COVERED = "DISPUTE_LOSS_COVERED"


@dataclass(slots=True, kw_only=True)
class Held:
    """The money of one dispute of a payment: `loss` is what no captured money covers."""

    payment: ServicePayment
    id: UUID
    ref: str
    currency: str
    loss: int
    postings: list[dict[str, Any]]

    def fact(self, *words: str) -> UUID:
        """The request key of a posting: the same fact, the same key."""
        p = self.payment
        return ids.request_key(p.provider, p.provider_account, "dispute", self.ref, *words)

    def money(self) -> list[dict[str, Any]]:
        return [one for one in self.postings if one["kind"] == "money"]


def withdraw(
    tx: Tx, now: datetime, held: Held, parts: Iterable[Source], total: int, note: str = "withdrawn"
) -> None:
    """Money left these accounts; `losses` is one of them. `total` is all that left by now."""
    txn_id = ids.new_owned(held.payment.customer_id)
    for account, part in parts:
        if not part:
            continue
        first, left = ledger.post(tx, [
            entry(held, now, txn_id, account, "disputes", part, "DISPUTE",
                  held.fact(note, str(total), account)),
            entry(held, now, txn_id, "disputes", "clearing", part, "DISPUTE_WITHDRAWN",
                  held.fact(f"{note} left", str(total), account)),
        ])  # fmt: skip
        held.postings.append({"kind": "money", "account": account, "amount": part, "back": 0,
                              "transfer": str(first), "left": str(left)})  # fmt: skip
        held.loss += part if account == "losses" else 0


def reinstate(tx: Tx, now: datetime, held: Held, amount: int, total: int) -> None:
    """Money came back: reverse the very transfers, what was a loss first, then the latest."""
    txn_id = ids.new_owned(held.payment.customer_id)
    ways = _ways(held)
    parts = unwind([way for way, _, _ in ways], amount)
    entries: list[Entry] = []
    for (_, one, cover), part in zip(ways, parts, strict=True):
        if not part:
            continue
        named = (cover or one)["transfer"]
        entries += [
            entry(held, now, txn_id, "clearing", "disputes", part, "DISPUTE_REINSTATED",
                  held.fact("returned", str(total), named), one["left"]),
            entry(held, now, txn_id, "disputes", one["account"], part, "DISPUTE_REINSTATED",
                  held.fact("reinstated", str(total), named), one["transfer"]),
        ]  # fmt: skip
        one["back"] += part
        if cover is not None:
            entries.append(
                entry(held, now, txn_id, "losses", cover["account"], part, COVERED,
                      held.fact("uncovered", str(total), named), cover["transfer"])
            )  # fmt: skip
            cover["back"] += part
        elif one["account"] == "losses":
            held.loss -= part
    ledger.post(tx, entries)


def _ways(
    held: Held,
) -> list[tuple[Posting, dict[str, Any], dict[str, Any] | None]]:
    """How money may come back, the last first: by which posting, and by which cover of it."""
    covers: dict[str, list[dict[str, Any]]] = {}
    for one in held.postings:
        if one["kind"] == "cover":
            covers.setdefault(one["of"], []).append(one)
    known, lost = [], []
    for one in held.money():
        covering = covers.get(one["transfer"], [])
        known += [(Posting(c["account"], c["amount"], c["back"]), one, c) for c in covering]
        covered = sum(c["amount"] - c["back"] for c in covering)
        way = (Posting(one["account"], one["amount"], one["back"] + covered), one, None)
        (lost if one["account"] == "losses" else known).append(way)
    return known + lost


def cover(
    tx: Tx, now: datetime, payment: ServicePayment, dispute_id: UUID, amount: int
) -> None:
    """Captured money that is there again covers a part of what a dispute had lost."""
    row = tx.one(
        "select ref, currency, loss_minor as loss, postings from disputes"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": payment.customer_id, "id": dispute_id},
    )
    assert row is not None, "disputes stay"
    held = Held(payment=payment, id=dispute_id, **row)
    cover_held(tx, now, held, amount)
    tx.run(
        "update disputes set loss_minor = %(loss)s, postings = %(postings)s"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": payment.customer_id, "id": dispute_id, "loss": held.loss,
         "postings": jsonb(held.postings)},
    )  # fmt: skip


def cover_held(tx: Tx, now: datetime, held: Held, amount: int) -> None:
    """Move a part of a dispute's loss to the accounts of its payment."""
    txn_id = ids.new_owned(held.payment.customer_id)
    lost = [(one, way.amount - way.back) for way, one, by in _ways(held)
            if by is None and one["account"] == "losses"]  # fmt: skip
    assert amount <= sum(left for _, left in lost), "no more is covered than was lost"
    for source in sources(tx, held.payment, held.currency, amount):
        rest = source.amount
        for i, (one, left) in enumerate(lost):
            if not (part := min(rest, left)):
                continue
            made = ledger.post(tx, [
                entry(held, now, txn_id, source.account, "losses", part, COVERED, None)
            ])[0]  # fmt: skip
            held.postings.append({"kind": "cover", "account": source.account, "amount": part,
                                  "back": 0, "transfer": str(made), "of": one["transfer"]})
            lost[i], rest = (one, left - part), rest - part
    held.loss -= amount


def sources(tx: Tx, payment: ServicePayment, asset: str, amount: int) -> list[Source]:
    """Where captured money is taken from when it leaves again; all of it."""
    parts, rest = from_accounts(amount, with_tax(amount, standing(tx, payment, asset)))
    if rest:  # Covered in all, though one account of the payment is overdrawn.
        parts.append(Source("revenue", rest))
    return parts


def standing(tx: Tx, payment: ServicePayment, asset: str) -> list[Source]:
    """What of this payment's money stands on each account."""
    rows = tx.all(
        "select code, sum(moved)::bigint as amount from ("
        " select credit as code, amount as moved from transfers"
        "  where customer_id = %(customer_id)s and subject_id = %(payment_id)s"
        "  and asset = %(asset)s and asset <> 'CREDIT'"
        " union all select debit, -amount from transfers"
        "  where customer_id = %(customer_id)s and subject_id = %(payment_id)s"
        "  and asset = %(asset)s and asset <> 'CREDIT') l group by code",
        {"customer_id": payment.customer_id, "payment_id": payment.key[1], "asset": asset},
    )
    found = {ledger.NAMES[row["code"]]: row["amount"] for row in rows}
    return [Source(account, found.get(account, 0)) for account in ACCOUNTS]


def entry(
    held: Held, now: datetime, txn_id: UUID, debit: str, credit: str, amount: int, reason: str,
    key: UUID | None, reverses: str | None = None,
) -> Entry:  # fmt: skip
    return Entry(
        customer_id=held.payment.customer_id, debit=debit, credit=credit, asset=held.currency,
        amount=amount, reason=reason, txn_id=txn_id, effective_at=now,
        subject_id=held.payment.key[1], reference=ids.show("dispute", held.id), request_key=key,
        reverses_id=UUID(reverses) if reverses else None,
    )  # fmt: skip
