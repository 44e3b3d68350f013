"""Holds: credits, or money of a wallet, set aside now and used, given back or expired later.

A hold ends once; until then parts of it may be captured while the rest stays set aside. Credits
are taken from batches in the order of spends; the hold's transfer names them. Captured credits
count as used even where their batch has ended meanwhile; released ones go back into the very
batches, repay what those owe, or, where a batch has ended, lapse into breakage. From `expires_at`
on nothing can be captured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import (
    AmountTooLarge,
    IdempotencyKeyReused,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
)
from paydesk.flows import heads, ledger, wallets
from paydesk.flows.credit_grants import settle
from paydesk.flows.credit_moves import movable
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.ledger import Entry
from paydesk.flows.sweeps import WAIT_S, one_row
from paydesk.flows.wallets import Arrival, check_money, digest_of, number_of
from paydesk.rules import fields
from paydesk.rules import holds as rules
from paydesk.rules.credits import check_amount
from paydesk.rules.holds import Taken
from paydesk.rules.ledger import CREDIT
from paydesk.rules.money import Money, currency_code
from paydesk.settings import Settings

#: Holds of one customer that a new one ends in passing; the sweep does the others.
_EXPIRED_IN_PASSING = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Something set aside: whole credits, or minor units of the currency `asset`.

    `state` is open or closed, `ended_by` capture, release or expiry. `captured` of `amount` were
    used; the rest is still `left`, or was released, except what lapsed with its batch.
    """

    id: UUID
    customer_id: UUID
    asset: str
    amount: int
    captured: int
    state: str
    ended_by: str | None
    reason: str | None
    reference: str | None
    metadata: dict[str, Any]
    expires_at: datetime
    closed_at: datetime | None
    created_at: datetime
    transfer_id: UUID
    request_hash: bytes

    @property
    def left(self) -> int:
        """What is still set aside."""
        return self.amount - self.captured if self.state == "open" else 0

    def status(self, now: datetime) -> str:
        """open, captured, released or expired: the last from the very instant on."""
        if self.state == "open":
            return "expired" if now >= self.expires_at else "open"
        assert self.ended_by is not None
        return {"capture": "captured", "release": "released", "expiry": "expired"}[self.ended_by]


def hold_now(
    env: Env, customer_id: UUID, amount: int, asset: str = CREDIT, *, reason: str | None = None,
    reference: str | None = None, minutes: int | None = None,
    metadata: Mapping[str, Any] | None = None, request_key: UUID | None = None,
    request_hash: bytes | None = None,
) -> Hold:  # fmt: skip
    """Set aside whole credits, or minor units of a currency, for some minutes (the setting's).

    credits -> held, or wallet -> held (HOLD). The same `request_key` holds once. Raises
    InsufficientCredits, InsufficientFunds, WalletFrozen, AmountTooLarge, TransactionLimit,
    InvalidRequest, IdempotencyKeyReused; then nothing was set aside.
    """
    asset = _asset(asset)
    lasts = timedelta(minutes=_minutes(env.settings, minutes))
    _check(env, amount, asset)
    told = {
        "reason": fields.optional_text(reason, "reason", most=500),
        "reference": fields.optional_text(reference, "reference", most=255),
    }
    kept = fields.metadata(metadata)
    key = request_key or uuid4()
    digest = request_hash or digest_of("hold", amount, asset, reason, reference, minutes, kept)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        found = _by_key(tx, customer_id, key)
        if found is not None:
            if found.request_hash != digest:
                raise IdempotencyKeyReused("This key stands for another request.")
            return found
        _expire_in_passing(tx, now, customer_id)
        heads.count_day(tx, customer_id, now, 1, env.settings.max_daily_transactions)
        hold_id = ids.new_owned(customer_id)
        take = _take_credits if asset == CREDIT else _take_money
        more = {
            "note": told["reason"], "reference": told["reference"], "request_key": key,
            "request_hash": number_of(digest),
        }  # fmt: skip
        transfer_id, balance = take(tx, now, customer_id, hold_id, amount, asset, more)
        tx.run(
            "insert into holds (customer_id, id, asset, transfer_id, amount, state, reason,"
            " reference, metadata, expires_at, clock_id, request_key, request_hash, created_at)"
            " values (%(customer_id)s, %(id)s, %(asset)s, %(transfer_id)s, %(amount)s, 'open',"
            " %(reason)s, %(reference)s, %(metadata)s, %(expires_at)s, %(clock_id)s, %(key)s,"
            " %(digest)s, %(now)s)",
            {
                "customer_id": customer_id, "id": hold_id, "asset": asset, "amount": amount,
                "transfer_id": transfer_id, **told, "metadata": jsonb(kept), "now": now,
                "expires_at": now + lasts, "clock_id": tx.heads[customer_id].clock_id, "key": key,
                "digest": digest,
            },
        )  # fmt: skip
        one = get(tx, customer_id, hold_id)
        data = {"balance": balance, "expires_at": one.expires_at.isoformat(), **told}
        emit_many(tx, [_event("created", one, now, data)])
        return one


def capture_now(
    env: Env, customer_id: UUID, hold_id: UUID, amount: int | None = None, *,
    is_final: bool = True, request_key: UUID | None = None,
) -> Hold:  # fmt: skip
    """Use what is left of a hold, or a part (0 uses none), and release the rest, in one step.

    Without `is_final` the rest stays set aside for captures to come, until nothing is left.
    Credits: held -> usage (HOLD_CAPTURE). Money: held -> deposits (HOLD_CAPTURE) -> revenue
    (SALE). The same `request_key` captures once. Raises HoldClosed where the hold has ended and
    from the instant of expiry on, InvalidRequest for more than is held, NotFound. A wallet frozen
    meanwhile changes nothing: what was used on the hold's word is ours, and leaves to nobody.
    """
    if not is_final and not amount:
        raise InvalidRequest("Say how much, above zero, where the rest is kept.", param="amount")
    how = "capture" if is_final else "part"
    return _end_now(env, customer_id, hold_id, how, amount, request_key)


def release_now(
    env: Env, customer_id: UUID, hold_id: UUID, *, request_key: UUID | None = None
) -> Hold:
    """Give back what is left of a hold. Raises HoldClosed, NotFound."""
    return _end_now(env, customer_id, hold_id, "release", 0, request_key)


def expire_due(env: Env, limit: int = 100) -> int:
    """Sweep: release what nobody captured in time; answers how many holds ended."""
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, id from holds where state = 'open' and clock_id is null"
            " and expires_at <= %(now)s order by expires_at limit %(limit)s",
            {"now": env.now(), "limit": limit},
        )
    ended = 0
    for row in rows:
        with one_row("holds", row["id"]):
            ended += expire_one(env, row["customer_id"], row["id"])
    return ended


def expire_one(env: Env, customer_id: UUID, hold_id: UUID) -> bool:
    """Release a hold whose time is over; whether this call did."""
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        one = get(tx, customer_id, hold_id)
        is_over = one.state == "open" and now >= one.expires_at
        if is_over:
            _end(tx, now, one, "expiry", 0, None)
        return is_over


def get(tx: Tx, customer_id: UUID, hold_id: UUID) -> Hold:
    """One hold. Raises NotFound, also for another customer's."""
    row = tx.one(
        "select customer_id, id, asset, amount, captured, state, ended_by, reason, reference,"
        " metadata, expires_at, closed_at, created_at, transfer_id, request_hash from holds"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": customer_id, "id": hold_id},
    )
    if row is None:
        raise NotFound(f"No such hold: {ids.show('hold', hold_id)}.")
    return _hold(row)


def list_(
    tx: Tx, customer_id: UUID, *, state: str | None = None, limit: int = 20,
    after: UUID | None = None,
) -> list[Hold]:  # fmt: skip
    """A customer's holds, newest first; `state` open or closed; the next page begins after the
    last id."""
    if state not in (None, "open", "closed"):
        raise InvalidRequest("state is open or closed.", param="state")
    rows = tx.all(
        "select customer_id, id, asset, amount, captured, state, ended_by, reason, reference,"
        " metadata, expires_at, closed_at, created_at, transfer_id, request_hash from holds"
        " where customer_id = %(customer_id)s and (%(state)s::text is null or state = %(state)s)"
        " and (%(after)s::uuid is null or id < %(after)s::uuid) order by id desc limit %(limit)s",
        {"customer_id": customer_id, "state": state, "after": after, "limit": limit},
    )
    return [_hold(row) for row in rows]


# Taking -----------------------------------------------------------------------------------------


def _take_credits(
    tx: Tx, now: datetime, customer_id: UUID, hold_id: UUID, amount: int, asset: str,
    more: Mapping[str, Any],
) -> tuple[UUID, int]:  # fmt: skip
    settle(tx, [customer_id], now)
    parts, total = movable(tx, customer_id, amount, promotional=True)
    if total < amount:
        raise InsufficientCredits(
            f"Needs {amount} credits, balance is {total}.", needed=amount, balance=total
        )
    entry = Entry(
        id=ids.new_owned(customer_id), customer_id=customer_id, debit="credits", credit="held",
        asset=CREDIT, amount=amount, reason="HOLD", txn_id=hold_id, subject_id=hold_id,
        effective_at=now, **more,
    )  # fmt: skip
    assert entry.id is not None
    ledger.post(tx, [entry])
    ledger.draw(tx, [(customer_id, entry.id, part["id"], part["take"]) for part in parts])
    return entry.id, ledger.balances(tx, [customer_id], "credits")[customer_id]


def _take_money(
    tx: Tx, now: datetime, customer_id: UUID, hold_id: UUID, amount: int, asset: str,
    more: Mapping[str, Any],
) -> tuple[UUID, int]:  # fmt: skip
    return wallets.take_out(
        tx, now, customer_id, Money(amount, asset, minor=True), "held", reason="HOLD",
        txn_id=hold_id, event=None, subject_id=hold_id, **more,
    )  # fmt: skip


# Ending -----------------------------------------------------------------------------------------


def _end_now(
    env: Env, customer_id: UUID, hold_id: UUID, how: str, amount: int | None, key: UUID | None
) -> Hold:
    """`how` is capture, part (the rest stays set aside) or release."""
    request = None if key is None else (key, ledger.hash_of("hold", hold_id, how, amount))
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        one = get(tx, customer_id, hold_id)
        if request is not None and _is_done(tx, customer_id, request):
            return one
        if one.state == "open" and now < one.expires_at:
            used = rules.captured(one.left, amount)
            if how == "part" and used < one.left:
                return _use(tx, now, one, used, request)
            return _end(tx, now, one, "release" if how == "release" else "capture", used, request)
        if one.state == "open":  # Its end is booked now, and stays booked.
            one = _end(tx, now, one, "expiry", 0, None)
    raise rules.refuse_closed(one.ended_by)


def _is_done(tx: Tx, customer_id: UUID, request: tuple[UUID, int]) -> bool:
    """Whether this very request was carried out before."""
    found = ledger.known(tx, [(customer_id, request[0])]).get((customer_id, request[0]))
    return found is not None and found[1] == request[1]


def _expire_in_passing(tx: Tx, now: datetime, customer_id: UUID) -> None:
    rows = tx.all(
        "select id from holds where customer_id = %(customer_id)s and state = 'open'"
        " and expires_at <= %(now)s order by created_at limit %(limit)s",
        {"customer_id": customer_id, "now": now, "limit": _EXPIRED_IN_PASSING},
    )
    for row in rows:
        _end(tx, now, get(tx, customer_id, row["id"]), "expiry", 0, None)


def _use(
    tx: Tx, now: datetime, one: Hold, used: int, request: tuple[UUID, int] | None
) -> Hold:
    """Capture a part; the rest stays set aside. The head is locked."""
    ledger.post(tx, _captured(one, used, ids.new_owned(one.customer_id), now, request))
    tx.run(
        "update holds set captured = captured + %(used)s"
        " where customer_id = %(customer_id)s and id = %(id)s and state = 'open'",
        {"customer_id": one.customer_id, "id": one.id, "used": used},
    )
    data = {"captured": used, "released": 0, "lapsed": 0, "repaid": 0, "left": one.left - used}
    emit_many(tx, [_event("captured", one, now, data)])
    return get(tx, one.customer_id, one.id)


def _end(
    tx: Tx, now: datetime, one: Hold, how: str, used: int, request: tuple[UUID, int] | None
) -> Hold:
    """Close an open hold: `used` of what is left is captured, the rest released. The head is
    locked."""
    txns = {"capture": ids.new_owned(one.customer_id), "release": ids.new_owned(one.customer_id)}
    if used:
        ledger.post(tx, _captured(one, used, txns["capture"], now, request))
    rest = one.left - used
    lapsed = repaid = 0
    if rest:
        first = None if used else request
        give = _release_credits if one.asset == CREDIT else _release_money
        lapsed, repaid = give(tx, now, one, rest, txns["release"], first)
    tx.run(
        "update holds set state = 'closed', ended_by = %(how)s, captured = captured + %(used)s,"
        " capture_txn_id = %(capture)s, release_txn_id = %(release)s, closed_at = %(now)s"
        " where customer_id = %(customer_id)s and id = %(id)s and state = 'open'",
        {
            "customer_id": one.customer_id, "id": one.id, "how": how, "used": used, "now": now,
            "capture": txns["capture"] if used else None,
            "release": txns["release"] if rest else None,
        },
    )  # fmt: skip
    data = {"captured": used, "released": rest - lapsed - repaid, "lapsed": lapsed,
            "repaid": repaid, "left": 0}  # fmt: skip
    type_ = {"capture": "captured", "release": "released", "expiry": "expired"}[how]
    emit_many(tx, [_event(type_, one, now, data)])
    return get(tx, one.customer_id, one.id)


def _captured(
    one: Hold, used: int, txn_id: UUID, now: datetime, request: tuple[UUID, int] | None
) -> list[Entry]:
    is_money, (key, digest) = one.asset != CREDIT, request or (None, None)
    entry = Entry(
        customer_id=one.customer_id, debit="held", credit="deposits" if is_money else "usage",
        asset=one.asset, amount=used, reason="HOLD_CAPTURE", txn_id=txn_id, subject_id=one.id,
        request_key=key, request_hash=digest, effective_at=now, note=one.reason,
        reference=one.reference,
    )  # fmt: skip
    if not is_money:
        return [entry]
    sale = Entry(
        customer_id=one.customer_id, debit="deposits", credit="revenue", asset=one.asset,
        amount=used, reason="SALE", txn_id=txn_id, subject_id=one.id, effective_at=now,
    )  # fmt: skip
    return [entry, sale]


def _release_money(
    tx: Tx, now: datetime, one: Hold, rest: int, txn_id: UUID, request: tuple[UUID, int] | None
) -> tuple[int, int]:
    key, digest = request or (None, None)
    arrived = wallets.put_in(tx, now, [
        Arrival(
            customer_id=one.customer_id, money=Money(rest, one.asset, minor=True), source="held",
            reason="HOLD_RELEASE", txn_id=txn_id, event=None, subject_id=one.id,
            reverses_id=one.transfer_id, request_key=key, request_hash=digest, note=one.reason,
            reference=one.reference,
        )
    ])[0]  # fmt: skip
    return 0, arrived.repaid


def _release_credits(
    tx: Tx, now: datetime, one: Hold, rest: int, txn_id: UUID, request: tuple[UUID, int] | None
) -> tuple[int, int]:
    owner = one.customer_id
    parts = rules.release(_taken(tx, one), rest, now)
    base: dict[str, Any] = {
        "customer_id": owner, "debit": "held", "asset": CREDIT, "txn_id": txn_id,
        "effective_at": now, "reverses_id": one.transfer_id, "note": one.reason,
        "reference": one.reference,
    }  # fmt: skip
    entries: list[Entry] = []
    back_id = ids.new_owned(owner)
    if back := sum(part.back for part in parts):
        entries.append(Entry(id=back_id, credit="credits", amount=back, reason="HOLD_RELEASE",
                             subject_id=one.id, **base))  # fmt: skip
    for part in parts:
        if part.repaid:
            entries.append(Entry(credit="debt", amount=part.repaid, reason="HOLD_RELEASE",
                                 subject_id=part.batch_id, **base))  # fmt: skip
        if part.lapsed:
            entries.append(Entry(
                id=ids.new_owned(owner), credit="breakage", amount=part.lapsed,
                reason="CREDIT_EXPIRY", subject_id=part.batch_id, **base,
            ))  # fmt: skip
    if request is not None:
        entries[0] = replace(entries[0], request_key=request[0], request_hash=request[1])
    ledger.post(tx, entries)
    ledger.draw(tx, [(owner, back_id, part.batch_id, -part.back) for part in parts if part.back])
    ledger.owe(tx, [(owner, part.batch_id, -part.repaid) for part in parts if part.repaid])
    _tell_lapsed(tx, now, one, entries)
    return sum(part.lapsed for part in parts), sum(part.repaid for part in parts)


def _tell_lapsed(tx: Tx, now: datetime, one: Hold, entries: list[Entry]) -> None:
    """Credits that would have gone back into a batch that has ended are expired credits."""
    gone = [entry for entry in entries if entry.credit == "breakage"]
    if not gone:
        return
    balance = ledger.balances(tx, [one.customer_id], "credits")[one.customer_id]
    ends = {one.batch_id: one.expires_at for one in _taken(tx, one)}
    told = []
    for entry in gone:
        end = ends[entry.subject_id]
        data = {
            "amount": entry.amount, "balance": balance, "transfer_id": str(entry.id),
            "batch_id": str(entry.subject_id), "expires_at": end.isoformat() if end else None,
        }  # fmt: skip
        assert entry.id is not None
        told.append(NewEvent(customer_id=one.customer_id, type="credits.expired",
                             subject_id=entry.id, data=data, at=now))  # fmt: skip
    emit_many(tx, told)


def _taken(tx: Tx, one: Hold) -> list[Taken]:
    """What the hold took of each batch, in order of taking."""
    rows = tx.all(
        "select d.batch_id, d.amount, b.owed, nullif(b.expires_at, 'infinity') as expires_at"
        " from draws d join batches b on b.customer_id = d.customer_id and b.id = d.batch_id"
        " where d.customer_id = %(customer_id)s and d.transfer_id = %(id)s"
        " order by b.take_at, b.id",
        {"customer_id": one.customer_id, "id": one.transfer_id},
    )
    return [Taken(**row) for row in rows]


# Rows -------------------------------------------------------------------------------------------


def _by_key(tx: Tx, customer_id: UUID, key: UUID) -> Hold | None:
    row = tx.one(
        "select id from holds where customer_id = %(customer_id)s and request_key = %(key)s",
        {"customer_id": customer_id, "key": key},
    )
    return get(tx, customer_id, row["id"]) if row else None


def _hold(row: Mapping[str, Any]) -> Hold:
    return Hold(**{**row, "request_hash": bytes(row["request_hash"])})


def _event(what: str, one: Hold, now: datetime, data: Mapping[str, Any]) -> NewEvent:
    told = {"amount": one.amount, "asset": one.asset, **data}
    return NewEvent(
        customer_id=one.customer_id, type=f"hold.{what}", subject_id=one.id, data=told, at=now
    )


def _asset(asset: str) -> str:
    return CREDIT if asset == CREDIT else currency_code(asset)


def _minutes(settings: Settings, minutes: int | None) -> int:
    if minutes is None:
        return settings.hold_expiry_minutes
    return fields.whole(minutes, "minutes", most=rules.MAX_MINUTES)


def _check(env: Env, amount: int, asset: str) -> None:
    check_amount(amount)
    if asset != CREDIT:
        check_money(env, Money(amount, asset, minor=True))
    elif amount > env.settings.max_transaction_amount:
        raise AmountTooLarge(f"{amount} credits are too many for one transaction.", param="amount")
