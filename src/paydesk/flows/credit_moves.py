"""Credits go back where a spend took them from, or over to another customer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    AmountTooLarge,
    CreditLimitExceeded,
    IdempotencyKeyReused,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    SpendNotRefundable,
    TransferNotAllowed,
)
from paydesk.flows import heads, ledger
from paydesk.flows.credit_grants import Books, Moves, settle
from paydesk.flows.ledger import BatchRow, Entry, Event
from paydesk.rules.credits import Drawn, check_amount, give_back, take_at
from paydesk.rules.ledger import CREDIT
from paydesk.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded:
    """What a refund of a spend did, in whole credits. `amount` = `put_back` (into batches that
    still run) + `regranted` (new batches with the stated grace) + `lapsed` (batch ended, no grace)
    + `repaid` (owed on the batch). `refundable`: what of the spend is left to refund."""

    transfer_id: UUID
    txn_id: UUID
    spend_id: UUID
    amount: int
    put_back: int
    regranted: int
    lapsed: int
    repaid: int
    refundable: int
    balance: int
    same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """Credits moved. `balance` and `to_balance` are the totals after it."""

    transfer_id: UUID
    txn_id: UUID
    amount: int
    balance: int
    to_balance: int
    batch_ids: list[UUID]
    same: bool


# Refund of a spend ------------------------------------------------------------------------------


def refund_spend_now(
    env: Env,
    customer_id: UUID,
    transfer_id: UUID,
    amount: int | None = None,
    *,
    request_key: UUID | None = None,
    request_hash: int | None = None,
) -> Refunded:
    """Give a spend back, wholly or in part, in a transaction of its own. As `refund_spend`."""
    with env.db.transaction(customer_id) as tx:
        return refund_spend(
            tx, customer_id, transfer_id, amount, env.now(), settings=env.settings,
            request_key=request_key, request_hash=request_hash,
        )  # fmt: skip


def refund_spend(
    tx: Tx,
    customer_id: UUID,
    transfer_id: UUID,
    amount: int | None,
    now: datetime,
    *,
    settings: Settings,
    request_key: UUID | None = None,
    request_hash: int | None = None,
) -> Refunded:
    """Give credits of a spend back to its own batches, with their own expiry.

    The batch taken from last comes first. What is owed on a batch is repaid first; where a batch
    has ended since, a `refunded` batch with `refund_grace_days` takes its place (0: it lapses at
    once). `amount` None: all that is left. Raises NotFound, SpendNotRefundable,
    IdempotencyKeyReused.
    """
    if amount is not None:
        check_amount(amount)
    if request_key is not None and request_hash is None:
        request_hash = ledger.hash_of("refund", transfer_id, amount)
    if request_key is not None:
        found = _refund_before(tx, customer_id, transfer_id, request_key, request_hash)
        if found is not None:
            return found
    settle(tx, [customer_id], now)
    drawn = _drawn(tx, customer_id, transfer_id)
    refundable = sum(one["amount"] - one["returned"] for one in drawn)
    wanted = refundable if amount is None else amount
    if not 0 < wanted <= refundable:
        raise SpendNotRefundable(
            f"{refundable} credits of this spend can be refunded.", refundable=refundable
        )
    return _give_back(
        tx, customer_id, transfer_id, drawn, wanted, now, settings, (request_key, request_hash)
    )


def _give_back(
    tx: Tx, customer_id: UUID, spend_id: UUID, drawn: Sequence[dict], wanted: int, now: datetime,
    settings: Settings, request: tuple[UUID | None, int | None],
) -> Refunded:  # fmt: skip
    at = ledger.last_instant(tx, customer_id, now)
    moves = Moves(now)
    by_id = {one["id"]: one for one in drawn}
    parts = give_back([Drawn(d["id"], d["amount"], d["returned"]) for d in drawn], wanted)
    txn_id = ids.new_owned(customer_id)
    base = Entry(
        id=txn_id, customer_id=customer_id, debit="usage", credit="credits", asset=CREDIT,
        amount=wanted, reason="CREDIT_REFUND", txn_id=txn_id, reverses_id=spend_id,
        effective_at=at,
    )  # fmt: skip
    back: list[tuple[UUID, int]] = []
    sums = {"repaid": 0, "regranted": 0, "lapsed": 0}
    for batch_id, part in parts:
        batch = by_id[batch_id]
        owed = min(batch["owed"], part)
        if owed:
            moves.entries.append(replace(
                base, id=ids.new_owned(customer_id), credit="debt", amount=owed,
                subject_id=batch_id,
            ))  # fmt: skip
            moves.owes.append((customer_id, batch_id, -owed))
            sums["repaid"] += owed
        if rest := part - owed:
            if batch["expires_at"] is None or batch["expires_at"] > at:
                back.append((batch_id, rest))
            else:
                lapsed = _replace_ended(moves, base, batch, rest, at, settings)
                sums["lapsed" if lapsed else "regranted"] += rest
    put_back = sum(part for _, part in back)
    if put_back:
        entry = replace(base, amount=put_back)
        moves.entries.append(entry)
        moves.draws += [(customer_id, txn_id, batch_id, -part) for batch_id, part in back]
    _sign(moves.entries, txn_id, request)
    refundable = sum(one["amount"] - one["returned"] for one in drawn) - wanted
    balance = ledger.balances(tx, [customer_id], "credits")[customer_id]
    refunded = Refunded(
        transfer_id=txn_id, txn_id=txn_id, spend_id=spend_id, amount=wanted, put_back=put_back,
        refundable=refundable, balance=balance + put_back + sums["regranted"], same=False, **sums,
    )  # fmt: skip
    moves.events.append(Event(
        customer_id=customer_id, type="credits.refunded", subject_id=txn_id,
        data={
            "amount": wanted, "balance": refunded.balance, "transfer_id": txn_id,
            "spend_id": spend_id, "put_back": put_back, **sums,
        },
    ))  # fmt: skip
    moves.write(tx)
    return refunded


def _replace_ended(
    moves: Moves, base: Entry, batch: dict, amount: int, at: datetime, settings: Settings
) -> bool:
    """Credits whose batch has ended go into a new one. Says whether that one ends at once."""
    owner = base.customer_id
    grace = timedelta(days=settings.refund_grace_days)
    row = BatchRow(
        customer_id=owner, id=moves.new_batch_id(owner), kind="refunded", amount=amount,
        take_at=take_at(settings.credit_order, at, at + grace), granted_at=at,
        expires_at=at + grace, origin=batch["origin"] or batch["kind"],
        payment_id=batch["payment_id"], source_id=batch["id"],
    )  # fmt: skip
    made = ids.new_owned(owner)
    moves.rows.append(row)
    moves.entries.append(replace(base, id=made, amount=amount, subject_id=row.id))
    if grace:
        return False
    gone = ids.new_owned(owner)
    moves.entries.append(Entry(
        id=gone, customer_id=owner, debit="credits", credit="breakage", asset=CREDIT,
        amount=amount, reason="CREDIT_EXPIRY", txn_id=base.txn_id, subject_id=row.id,
        effective_at=at,
    ))  # fmt: skip
    moves.draws.append((owner, gone, row.id, amount))
    return True


def _sign(entries: list[Entry], first_id: UUID, request: tuple[UUID | None, int | None]) -> None:
    """The refund's own id and key go on its first transfer."""
    one = next((i for i, entry in enumerate(entries) if entry.id == first_id), 0)
    entries.insert(0, entries.pop(one))
    entries[0] = replace(
        entries[0], id=first_id, request_key=request[0], request_hash=request[1]
    )


def _drawn(tx: Tx, customer_id: UUID, transfer_id: UUID) -> list[dict]:
    """What a spend took from each batch, in order of taking, and what went back since. Raises
    NotFound where this customer has no such spend."""
    spend = tx.one(
        "select id from transfers where customer_id = %(customer_id)s and id = %(id)s"
        " and reason = 'CREDIT_USAGE' and debit = 1 and credit = 7",
        {"customer_id": customer_id, "id": transfer_id},
    )
    if spend is None:
        raise NotFound(f"No such spend: {ids.show('transfer', transfer_id)}.")
    # Back in the batch itself, in a batch that took its place, or against what was owed on it.
    return tx.all(
        "with back as materialized (select t.id, t.credit, t.amount, t.subject_id from transfers t"
        "  where t.customer_id = %(customer_id)s and t.reverses_id = %(id)s"
        "  and t.reason = 'CREDIT_REFUND')"
        " select b.id, b.kind, b.origin, b.owed, nullif(b.expires_at, 'infinity') as expires_at,"
        "  b.payment_id, d.amount,"
        "  (coalesce((select -sum(x.amount) from back cross join lateral (select y.amount"
        "    from draws y where y.customer_id = %(customer_id)s and y.transfer_id = back.id"
        "    and y.batch_id = d.batch_id) x), 0)"
        "  + coalesce((select sum(back.amount) from back where back.credit = 4"
        "    and back.subject_id = d.batch_id), 0)"
        "  + coalesce((select sum(back.amount) from back cross join lateral (select y.source_id"
        "    from batches y where y.customer_id = %(customer_id)s and y.id = back.subject_id) x"
        "    where back.credit = 1 and x.source_id = d.batch_id), 0))::bigint as returned"
        " from draws d join batches b on b.customer_id = d.customer_id and b.id = d.batch_id"
        " where d.customer_id = %(customer_id)s and d.transfer_id = %(id)s"
        " order by b.take_at, b.id",
        {"customer_id": customer_id, "id": transfer_id},
    )


def _refund_before(
    tx: Tx, customer_id: UUID, spend_id: UUID, key: UUID, request_hash: int | None
) -> Refunded | None:
    found = ledger.known(tx, [(customer_id, key)]).get((customer_id, key))
    if found is None:
        return None
    if found[1] != request_hash:
        raise IdempotencyKeyReused("This key stands for another request.")
    # The event remembers the answer; facts that came later do not change it.
    rows = tx.all(
        "select data from events where customer_id = %(customer_id)s and subject_id = %(id)s"
        " and type = 'credits.refunded' limit 1",
        {"customer_id": customer_id, "id": found[0]},
    )
    data = rows[0]["data"]
    drawn = _drawn(tx, customer_id, spend_id)
    return Refunded(
        transfer_id=found[0], txn_id=found[0], spend_id=spend_id, amount=data["amount"],
        put_back=data["put_back"], regranted=data["regranted"], lapsed=data["lapsed"],
        repaid=data["repaid"], balance=data["balance"], same=True,
        refundable=sum(one["amount"] - one["returned"] for one in drawn),
    )  # fmt: skip


# Transfer to another customer -------------------------------------------------------------------


def transfer_now(
    env: Env,
    from_id: UUID,
    to_id: UUID,
    amount: int,
    *,
    request_key: UUID | None = None,
    request_hash: int | None = None,
) -> Transferred:
    """Move credits in a transaction of its own. As `transfer`."""
    with env.db.transaction(from_id, to_id) as tx:
        return transfer(
            tx, from_id, to_id, amount, env.now(), settings=env.settings,
            request_key=request_key, request_hash=request_hash,
        )  # fmt: skip


def transfer(
    tx: Tx,
    from_id: UUID,
    to_id: UUID,
    amount: int,
    now: datetime,
    *,
    settings: Settings,
    request_key: UUID | None = None,
    request_hash: int | None = None,
) -> Transferred:
    """Move credits between two customers whose heads are locked, where the policy allows it.

    Batches keep kind, age, expiry and lineage (`source_id`); credits of promotions stay with
    their owner. Raises TransferNotAllowed, InsufficientCredits, CreditLimitExceeded,
    AmountTooLarge, TransactionLimit, IdempotencyKeyReused, InvalidRequest.
    """
    check_amount(amount)
    if from_id == to_id:
        raise InvalidRequest("Credits cannot be moved to the same customer.", param="to")
    if request_key is not None:
        request_hash = request_hash or ledger.hash_of("transfer", to_id, amount)
        if before := _transfer_before(tx, from_id, to_id, request_key, request_hash):
            return before
    is_own = may_move(tx, from_id, to_id, settings.credit_transfer_policy)
    if tx.heads[from_id].clock_id != tx.heads[to_id].clock_id:
        raise TransferNotAllowed("Credits cannot be moved between customers of two clocks.")
    if amount > settings.max_transaction_amount:
        raise AmountTooLarge(f"{amount} credits are too many for one transaction.")
    settle(tx, (from_id, to_id), now)
    parts, total = movable(tx, from_id, amount, promotional=is_own)
    if total < amount:
        raise InsufficientCredits(
            f"Needs {amount} credits, {total} can be moved.", needed=amount, balance=total
        )
    at = heads.decide(tx, now, from_id)
    heads.count_day(tx, from_id, at, 1, settings.max_daily_transactions)
    moves = Moves(now)
    books = Books(tx, [from_id, to_id])
    limit, there = settings.max_credit_balance, books.credits(to_id)
    if there + amount > limit:
        raise CreditLimitExceeded(
            f"The other customer's balance would exceed {limit}.", limit=limit, balance=there
        )
    moved = _move(moves, books, from_id, to_id, amount, parts, (request_key, request_hash), tx)
    moves.write(tx)
    return moved


def _move(
    moves: Moves, books: Books, from_id: UUID, to_id: UUID, amount: int, parts: list[dict],
    request: tuple[UUID | None, int | None], tx: Tx,
) -> Transferred:  # fmt: skip
    out_id = ids.new_owned(from_id)
    out = Entry(
        id=out_id, customer_id=from_id, debit="credits", credit="transit", asset=CREDIT,
        amount=amount, reason="CREDIT_TRANSFER", txn_id=out_id, subject_id=to_id,
        request_key=request[0], request_hash=request[1],
        effective_at=ledger.last_instant(tx, from_id, moves.now),
    )  # fmt: skip
    moves.entries.append(out)
    moves.draws += [(from_id, out_id, part["id"], part["take"]) for part in parts]
    arrives_at = ledger.last_instant(tx, to_id, moves.now)
    batch_ids: list[UUID] = []
    for part in parts:
        row = BatchRow(
            customer_id=to_id, id=moves.new_batch_id(to_id), kind=part["kind"], amount=part["take"],
            take_at=part["take_at"], granted_at=part["granted_at"],
            expires_at=part["expires_at"], origin=part["origin"], source_id=part["id"],
        )  # fmt: skip
        entry = Entry(
            id=ids.new_owned(to_id), customer_id=to_id, debit="transit", credit="credits",
            asset=CREDIT, amount=part["take"], reason="CREDIT_TRANSFER", txn_id=out_id,
            subject_id=row.id, effective_at=arrives_at,
        )  # fmt: skip
        moves.rows.append(row)
        moves.entries.append(entry)
        batch_ids.append(row.id)
        books.take_in(moves, row, entry)
    balance, to_balance = books.add(from_id, -amount), books.credits(to_id)
    for owner, direction, total in ((from_id, "out", balance), (to_id, "in", to_balance)):
        moves.events.append(Event(
            customer_id=owner, type="credits.transferred", subject_id=out_id,
            data={
                "amount": amount, "direction": direction, "balance": total,
                "transfer_id": out_id, "from": from_id, "to": to_id,
            },
        ))  # fmt: skip
    return Transferred(
        transfer_id=out_id, txn_id=out_id, amount=amount, balance=balance, to_balance=to_balance,
        batch_ids=batch_ids, same=False,
    )  # fmt: skip


def may_move(
    tx: Tx, from_id: UUID, to_id: UUID, policy: str, what: str = "Credits"
) -> bool:
    """Whether both belong to one owner; raises TransferNotAllowed where the policy forbids."""
    rows = tx.all(
        "select customer_id, owner_id, organization_id from customers"
        " where customer_id = any(%(both)s)",
        {"both": [from_id, to_id]},
    )
    found = {row["customer_id"]: row for row in rows}
    if len(found) < 2:
        raise NotFound("No such customer.")
    one, other = found[from_id], found[to_id]
    is_own = one["owner_id"] == other["owner_id"]
    is_inside = one["organization_id"] is not None and (
        one["organization_id"] == other["organization_id"]
    )
    allowed = {
        "none": False, "same_owner": is_own, "organization": is_own or is_inside, "any": True,
    }.get(policy, False)  # fmt: skip
    if not allowed:
        raise TransferNotAllowed(f"{what} cannot be moved between these customers.")
    return is_own


def movable(
    tx: Tx, customer_id: UUID, amount: int, *, promotional: bool
) -> tuple[list[dict[str, Any]], int]:
    """Batches to take from, in order, each with its part in `take`; and how much may be moved:
    at least `amount`, or all there is."""
    parts: list[dict[str, Any]] = []
    total = 0
    last: tuple[Any, Any] = (None, None)
    while total < amount:
        rows = tx.all(
            "select id, kind, origin, remaining, take_at::text as take_key,"
            " nullif(take_at, 'infinity') as take_at, granted_at,"
            " nullif(expires_at, 'infinity') as expires_at from batches"
            " where customer_id = %(customer_id)s and open and (%(take)s::timestamptz is null"
            "  or (take_at, id) > (%(take)s::timestamptz, %(id)s::uuid))"
            " order by take_at, id limit 64",
            {"customer_id": customer_id, "take": last[0], "id": last[1]},
        )
        if not rows:
            break
        last = (rows[-1]["take_key"], rows[-1]["id"])
        for row in rows:
            if not promotional and (row["origin"] or row["kind"]) == "promotional":
                continue
            if total < amount:
                parts.append({**row, "take": min(row["remaining"], amount - total)})
                total += parts[-1]["take"]
    return parts, total


def _transfer_before(
    tx: Tx, from_id: UUID, to_id: UUID, key: UUID, request_hash: int
) -> Transferred | None:
    found = ledger.known(tx, [(from_id, key)]).get((from_id, key))
    if found is None:
        return None
    if found[1] != request_hash:
        raise IdempotencyKeyReused("This key stands for another request.")
    out = tx.one(
        "select amount, debit_after from transfers where customer_id = %(customer_id)s"
        " and id = %(id)s",
        {"customer_id": from_id, "id": found[0]},
    )
    there = tx.all(
        "select e.data, t.subject_id from events e join transfers t"
        " on t.customer_id = e.customer_id and t.txn_id = e.subject_id and t.credit = 1"
        " where e.customer_id = %(customer_id)s and e.subject_id = %(id)s"
        " and e.type = 'credits.transferred' order by t.seq",
        {"customer_id": to_id, "id": found[0]},
    )
    assert out is not None and there
    return Transferred(
        transfer_id=found[0], txn_id=found[0], amount=out["amount"], balance=out["debit_after"],
        to_balance=there[0]["data"]["balance"], batch_ids=[row["subject_id"] for row in there],
        same=True,
    )  # fmt: skip
