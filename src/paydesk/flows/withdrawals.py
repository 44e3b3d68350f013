"""Withdrawals: money leaves a wallet, set aside at the request, decided, paid out by a person.

requested -> approved -> paid, or rejected or canceled on the way, which gives the money back.
Above PAYDESK_WITHDRAWAL_APPROVAL_THRESHOLD in a day somebody else than the requester decides.
Nothing of a wallet that is frozen, or owes by then, is approved or paid out.

A transfer to another customer that is above PAYDESK_TRANSFER_APPROVAL_THRESHOLD waits here too, as
a withdrawal with `to_id`: its approval moves the money, and it is paid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from paydesk import crash, ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import (
    ApprovalRequired,
    Conflict,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
)
from paydesk.flows import heads, ledger, rates, wallets
from paydesk.flows.credit_moves import may_move
from paydesk.flows.events import emit_many
from paydesk.flows.wallets import Arrival, check_money, digest_of, number_of
from paydesk.rules import fields
from paydesk.rules.money import Money
from paydesk.rules.persons import are_two, persons_of
from paydesk.settings import Settings

STATES = ("requested", "approved", "paid", "rejected", "canceled")
#: States in which the money is set aside.
OPEN = ("requested", "approved")


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Money on its way out of a wallet. `destination` is where it is to go, in the customer's
    words; `decided_by` is None where the amount needed nobody's decision. `to_id`: the customer
    who gets it, where this is a transfer between wallets."""

    id: UUID
    customer_id: UUID
    amount: Money
    state: str
    destination: str
    to_id: UUID | None
    requested_by: str | None
    decided_by: str | None
    decided_at: datetime | None
    decision_note: str | None
    paid_reference: str | None
    paid_at: datetime | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    request_key: UUID
    request_hash: bytes
    requested_persons: list[str] | None


def request(
    env: Env, customer_id: UUID, money: Money, destination: str, *, by: str,
    metadata: Mapping[str, Any] | None = None, request_key: UUID | None = None,
    request_hash: bytes | None = None, persons: Sequence[str] | None = None,
) -> Withdrawal:  # fmt: skip
    """Set money of a wallet aside to be paid out: wallet -> held (WALLET_WITHDRAWAL).

    Approved at once where `needs_approval` asks for nobody. The same `request_key` asks once.
    Raises InsufficientFunds, WalletFrozen, TransactionLimit, AmountTooLarge, IdempotencyKeyReused.
    """
    check_money(env, money)
    told = fields.text(destination, "destination", most=500)
    kept = fields.metadata(metadata)
    key = request_key or uuid4()
    digest = request_hash or digest_of("withdraw", money.minor, money.currency, told, kept)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        found = by_key(tx, customer_id, key)
        if found is not None:
            if found.request_hash != digest:
                raise IdempotencyKeyReused("This key stands for another request.")
            return found
        heads.count_day(tx, customer_id, now, 1, env.settings.max_daily_transactions)
        is_free = not needs_approval(tx, env.settings, customer_id, money, now)
        one, _, _ = _set_aside(
            tx, now, customer_id, money, destination=told, reference=told[:255], by=by,
            persons=persons, state="approved" if is_free else "requested", metadata=kept,
            request_key=key, digest=digest, number=number_of(digest),
        )  # fmt: skip
        _tell(tx, now, one, "requested", by)
        if is_free:
            _tell(tx, now, one, "approved", "the threshold", by="the threshold")
        return one


def request_transfer(
    tx: Tx, now: datetime, customer_id: UUID, to_id: UUID, money: Money, *, by: str,
    persons: Sequence[str] | None, request_key: UUID, request_hash: int,
    reference: str | None, note: str | None,
) -> tuple[Withdrawal, UUID, int]:  # fmt: skip
    """Set money aside that goes to another customer once a person approves it: wallet -> held.

    Answers what waits, the transfer that set it aside, and the balance after that. The head is
    locked, the day counted. Raises InsufficientFunds, WalletFrozen.
    """
    found = _set_aside(
        tx, now, customer_id, money, destination=ids.show("customer", to_id), to_id=to_id,
        reference=reference, note=note, by=by, persons=persons, state="requested", metadata={},
        request_key=request_key, digest=request_hash.to_bytes(8, "big"), number=request_hash,
    )  # fmt: skip
    _tell(tx, now, found[0], "requested", by)
    return found


def _set_aside(
    tx: Tx, now: datetime, customer_id: UUID, money: Money, *, destination: str, by: str,
    persons: Sequence[str] | None, state: str, metadata: Mapping[str, Any], request_key: UUID,
    digest: bytes, number: int, reference: str | None, note: str | None = None,
    to_id: UUID | None = None,
) -> tuple[Withdrawal, UUID, int]:  # fmt: skip
    made = ids.new_owned(customer_id)
    transfer_id, balance = wallets.take_out(
        tx, now, customer_id, money, "held", reason="WALLET_WITHDRAWAL", txn_id=made,
        event=None, subject_id=made, reference=reference, note=note, request_key=request_key,
        request_hash=number,
    )  # fmt: skip
    tx.run(
        "insert into withdrawals (customer_id, id, currency, amount_minor, state, destination,"
        " to_customer_id, requested_by, requested_persons, decided_at, hold_txn_id, request_key,"
        " request_hash, metadata, created_at) values (%(customer_id)s, %(id)s, %(currency)s,"
        " %(minor)s, %(state)s, %(destination)s, %(to_id)s, %(by)s, %(persons)s, %(decided_at)s,"
        " %(id)s, %(key)s, %(digest)s, %(metadata)s, %(now)s)",
        {
            "customer_id": customer_id, "id": made, "currency": money.currency,
            "minor": money.minor, "state": state, "destination": destination, "to_id": to_id,
            "by": by, "persons": persons_of(by, persons),
            "decided_at": now if state == "approved" else None,
            "key": request_key, "digest": digest, "metadata": jsonb(metadata), "now": now,
        },
    )  # fmt: skip
    return get(tx, customer_id, made), transfer_id, balance


def decide(
    env: Env, customer_id: UUID, withdrawal_id: UUID, decision: str, *, by: str,
    note: str | None = None, persons: Sequence[str] | None = None,
) -> Withdrawal:  # fmt: skip
    """`approve` what was requested, or `reject` what is not paid yet: held -> wallet.

    `persons`: who is behind the name `by`. Raises ApprovalRequired where that is who asked for it,
    Conflict where it is past that; for an approval also WalletFrozen, and Conflict where the
    wallet owes: rejecting repays it. The same decision by the same person again changes nothing.

    The approval of a transfer moves it: held -> transit, and transit -> wallet in the other's
    books. Raises TransferNotAllowed, WalletFrozen where the other may not have it any more.
    """
    if decision not in ("approve", "reject"):
        raise InvalidRequest("decision is 'approve' or 'reject'.", param="decision")
    told = fields.optional_text(note, "note", most=500)
    with env.db.read() as tx:
        to_id = get(tx, customer_id, withdrawal_id).to_id
    state = "rejected" if decision == "reject" else "approved" if to_id is None else "paid"
    others = [to_id] if to_id is not None and state == "paid" else []
    with env.db.transaction(customer_id, *others) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        one = get(tx, customer_id, withdrawal_id)
        if one.state == state and one.decided_by == by:
            return one
        asked = persons_of(one.requested_by or "", one.requested_persons)
        if not are_two(asked, persons_of(by, persons)):
            raise ApprovalRequired("Somebody else than who asked for it decides.")
        if one.state not in (OPEN if state == "rejected" else ("requested",)):
            raise Conflict(f"This withdrawal is {one.state}.")
        changes: dict[str, Any] = {}
        if state == "rejected":
            changes = {"txn_id": _give_back(tx, now, one)}
        else:
            _check_wallet(tx, one)
        if state == "paid":
            changes = {"txn_id": _hand_over(env, tx, now, one, by), "paid_at": now}
        moved = _move(tx, one, state, decided_by=by, decided_at=now, decision_note=told,
                      **changes)  # fmt: skip
        _tell(tx, now, moved, state, by, by=by)
        crash.at("withdrawal_before_commit")
    return moved


def cancel(
    env: Env, customer_id: UUID, withdrawal_id: UUID, *, by: str, is_staff: bool = False
) -> Withdrawal:
    """Take a request back: held -> wallet. An approved one, which may be on its way already, only
    by staff. Raises Conflict, NotFound."""
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        one = get(tx, customer_id, withdrawal_id)
        if one.state == "canceled":
            return one
        if one.state not in (OPEN if is_staff else ("requested",)):
            raise Conflict(f"This withdrawal is {one.state}.")
        moved = _move(tx, one, "canceled", txn_id=_give_back(tx, now, one))
        _tell(tx, now, moved, "canceled", by)
        return moved


def mark_paid(
    env: Env, customer_id: UUID, withdrawal_id: UUID, reference: str, *, by: str
) -> Withdrawal:
    """The money was sent: held -> clearing (WITHDRAWAL_PAID). `reference` is the paying side's.

    Only what is approved; the same reference again changes nothing. Raises NotFound, WalletFrozen,
    Conflict (also where the wallet owes by now: rejecting repays it).
    """
    told = fields.text(reference, "reference", most=255)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        one = get(tx, customer_id, withdrawal_id)
        if one.state == "paid" and one.paid_reference == told:
            return one
        if one.state != "approved":
            raise Conflict(f"This withdrawal is {one.state}.")
        _check_wallet(tx, one)
        txn_id = ids.new_owned(customer_id)
        ledger.post(tx, [
            ledger.Entry(
                customer_id=customer_id, debit="held", credit="clearing",
                asset=one.amount.currency, amount=one.amount.minor, reason="WITHDRAWAL_PAID",
                txn_id=txn_id, subject_id=one.id, reference=told, effective_at=now,
                request_key=ids.request_key("withdrawal paid", str(one.id)),
            )
        ])  # fmt: skip
        moved = _move(tx, one, "paid", paid_reference=told, paid_at=now, txn_id=txn_id)
        _tell(tx, now, moved, "paid", by, reference=told)
        return moved


def needs_approval(
    tx: Tx, settings: Settings, customer_id: UUID, money: Money, now: datetime
) -> bool:
    """Whether another person decides: where this and what the customer withdrew in the last day,
    in the default currency, are above the threshold; always where that is 0 or a rate is missing.
    """
    most = settings.withdrawal_approval_threshold
    if not most:
        return True
    rows = tx.all(
        "select currency, sum(amount_minor)::bigint as minor from withdrawals"
        " where customer_id = %(customer_id)s and created_at > %(since)s"
        " and to_customer_id is null"
        " and state in ('requested', 'approved', 'paid') group by currency",
        {"customer_id": customer_id, "since": now - timedelta(days=1)},
    )
    return _is_above(tx, settings, most, money, rows, now)


def transfer_needs_approval(
    tx: Tx, settings: Settings, customer_id: UUID, money: Money, now: datetime
) -> bool:
    """Whether a transfer waits for another person: where it and what the customer gave others in
    the last day are above the threshold, or a rate is missing; never where that is 0."""
    most = settings.transfer_approval_threshold
    if not most:
        return False
    rows = tx.all(
        "select currency, sum(minor)::bigint as minor from ("
        " select asset as currency, amount as minor from transfers"
        "  where customer_id = %(customer_id)s and debit = 2 and credit = 9"
        "  and effective_at > %(since)s"
        " union all select currency, amount_minor from withdrawals"
        "  where customer_id = %(customer_id)s and created_at > %(since)s"
        "  and to_customer_id is not null and state in ('requested', 'paid')) l"
        " group by currency",
        {"customer_id": customer_id, "since": now - timedelta(days=1)},
    )
    return _is_above(tx, settings, most, money, rows, now)


def _is_above(
    tx: Tx, settings: Settings, most: Decimal, money: Money, rows: Sequence[Mapping[str, Any]],
    now: datetime,
) -> bool:  # fmt: skip
    """Whether `money` and these sums by currency are above `most` of the default currency."""
    asked = {row["currency"]: row["minor"] for row in rows}
    asked[money.currency] = asked.get(money.currency, 0) + money.minor
    target, total = settings.default_currency, 0
    for currency, minor in asked.items():
        worth = rates.worth(
            tx, Money(minor, currency, minor=True), target, now,
            max_age_days=settings.rate_max_age_days,
        )  # fmt: skip
        if worth is None:
            return True
        total += worth
    return Money(total, target, minor=True).decimal > most


def get(tx: Tx, customer_id: UUID, withdrawal_id: UUID) -> Withdrawal:
    """One withdrawal. Raises NotFound, also for another customer's."""
    row = tx.one(
        "select customer_id, id, currency, amount_minor, state, destination,"
        " to_customer_id as to_id, requested_by, decided_by, decided_at, decision_note,"
        " paid_reference, paid_at, metadata, created_at, updated_at, request_key, request_hash,"
        " requested_persons from withdrawals"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": customer_id, "id": withdrawal_id},
    )
    if row is None:
        raise NotFound(f"No such withdrawal: {ids.show('withdrawal', withdrawal_id)}.")
    return _withdrawal(row)


def list_(
    tx: Tx, customer_id: UUID | None = None, *, state: str | None = None, limit: int = 20,
    after: UUID | None = None,
) -> list[Withdrawal]:  # fmt: skip
    """Newest first, one customer's or everybody's; the next page begins after the last id."""
    if state is not None and state not in STATES:
        raise InvalidRequest(f"status is one of {', '.join(STATES)}.", param="status")
    seen = get(tx, ids.customer_of(after), after) if after is not None else None
    rows = tx.all(
        "select customer_id, id, currency, amount_minor, state, destination,"
        " to_customer_id as to_id, requested_by, decided_by, decided_at, decision_note,"
        " paid_reference, paid_at, metadata, created_at, updated_at, request_key, request_hash,"
        " requested_persons from withdrawals"
        " where (%(customer_id)s::uuid is null or customer_id = %(customer_id)s)"
        " and (%(state)s::text is null or state = %(state)s)"
        " and (%(at)s::timestamptz is null or (created_at, id) < (%(at)s::timestamptz,"
        "  %(after)s::uuid)) order by created_at desc, id desc limit %(limit)s",
        {"customer_id": customer_id, "state": state, "limit": limit, "after": after,
         "at": seen.created_at if seen else None},
    )  # fmt: skip
    return [_withdrawal(row) for row in rows]


def by_key(tx: Tx, customer_id: UUID, key: UUID) -> Withdrawal | None:
    """What this request key asked for."""
    row = tx.one(
        "select id from withdrawals where customer_id = %(customer_id)s and request_key = %(key)s",
        {"customer_id": customer_id, "key": key},
    )
    return get(tx, customer_id, row["id"]) if row else None


def _check_wallet(tx: Tx, one: Withdrawal) -> None:
    """Money that is set aside leaves only an open wallet that owes nothing."""
    wallets.refuse_frozen(tx, one.customer_id, one.amount.currency)
    debt = ledger.balances(tx, [one.customer_id], "debt", one.amount.currency)[one.customer_id]
    if debt:
        raise Conflict("This wallet owes: reject the withdrawal, which repays it.")


def _give_back(tx: Tx, now: datetime, one: Withdrawal) -> UUID:
    """What was set aside is in the wallet again, a debt repaid first."""
    txn_id = ids.new_owned(one.customer_id)
    wallets.put_in(tx, now, [
        Arrival(
            customer_id=one.customer_id, money=one.amount, source="held", txn_id=txn_id,
            reason="WITHDRAWAL_RELEASE", event=None, subject_id=one.id,
            request_key=ids.request_key("withdrawal back", str(one.id)),
        )
    ])  # fmt: skip
    return txn_id


def _hand_over(env: Env, tx: Tx, now: datetime, one: Withdrawal, by: str) -> UUID:
    """What was set aside is in the other customer's wallet, whose head is locked too."""
    assert one.to_id is not None
    owner, to_id, money = one.customer_id, one.to_id, one.amount
    may_move(tx, owner, to_id, env.settings.wallet_transfer_policy, "Money")
    wallets.refuse_frozen(tx, to_id, money.currency)
    told = tx.one(
        "select reference, note from transfers where customer_id = %(customer_id)s"
        " and request_key = %(key)s", {"customer_id": owner, "key": one.request_key},
    )  # fmt: skip
    assert told is not None
    txn_id, ends, cause = ids.new_owned(owner), {"from": owner, "to": to_id}, {"actor": by}
    entry = ledger.Entry(
        id=ids.new_owned(owner), customer_id=owner, debit="held", credit="transit",
        asset=money.currency, amount=money.minor, reason="WALLET_TRANSFER", txn_id=txn_id,
        subject_id=to_id, effective_at=now, **told,
        request_key=ids.request_key("transfer approved", str(one.id)),
    )  # fmt: skip
    ledger.post(tx, [entry])
    wallet = wallets.of(tx, owner, money.currency)
    assert wallet is not None
    data = {
        "amount": money.minor, "currency": money.currency, "balance": wallet.balance,
        "transfer_id": entry.id, "direction": "out", **ends,
    }  # fmt: skip
    emit_many(tx, [
        wallets.new_event("wallet.transferred", owner, wallet.id, data, now, cause)
    ])  # fmt: skip
    wallets.put_in(tx, heads.decide(tx, env.now(), to_id), [
        Arrival(
            customer_id=to_id, money=money, source="transit", reason="WALLET_TRANSFER",
            txn_id=txn_id, event="wallet.transferred", subject_id=owner, cause=cause,
            data={"direction": "in", **ends}, **told,
        )
    ])  # fmt: skip
    return txn_id


def _move(tx: Tx, one: Withdrawal, state: str, **changes: Any) -> Withdrawal:
    values: dict[str, Any] = {
        "decided_by": None, "decided_at": None, "decision_note": None, "paid_reference": None,
        "paid_at": None, "txn_id": None, **changes,
    }  # fmt: skip
    tx.run(
        "update withdrawals set state = %(state)s,"
        " decided_by = coalesce(%(decided_by)s, decided_by),"
        " decided_at = coalesce(%(decided_at)s, decided_at),"
        " decision_note = coalesce(%(decision_note)s, decision_note),"
        " paid_reference = %(paid_reference)s, paid_at = %(paid_at)s, txn_id = %(txn_id)s"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {**values, "state": state, "customer_id": one.customer_id, "id": one.id},
    )
    return get(tx, one.customer_id, one.id)


def _tell(
    tx: Tx, now: datetime, one: Withdrawal, what: str, actor: str, **more: Any
) -> None:
    data = {
        "amount": one.amount.minor, "currency": one.amount.currency, "status": what,
        "destination": one.destination, **more,
    }  # fmt: skip
    if one.to_id is not None:
        data["to"] = one.to_id
    cause = {"actor": actor}
    emit_many(
        tx, [wallets.new_event(f"withdrawal.{what}", one.customer_id, one.id, data, now, cause)]
    )


def _withdrawal(row: dict[str, Any]) -> Withdrawal:
    told = {name: value for name, value in row.items()
            if name not in ("amount_minor", "currency", "request_hash")}  # fmt: skip
    money = Money(row["amount_minor"], row["currency"], minor=True)
    return Withdrawal(**told, amount=money, request_hash=bytes(row["request_hash"]))
