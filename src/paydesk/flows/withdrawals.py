"""Withdrawals: money leaves a wallet, set aside at the request, decided, paid out by a person.

requested -> approved -> paid, or rejected or canceled on the way, which gives the money back.
Above PAYDESK_WITHDRAWAL_APPROVAL_THRESHOLD in a day somebody else than the requester decides.
Nothing of a wallet that is frozen, or owes by then, is approved or paid out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from paydesk import ids
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
from paydesk.flows.events import emit_many
from paydesk.flows.wallet_moves import check_money, digest_of, number_of
from paydesk.flows.wallets import Arrival
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
    words; `decided_by` is None where the amount needed nobody's decision."""

    id: UUID
    customer_id: UUID
    amount: Money
    state: str
    destination: str
    requested_by: str | None
    decided_by: str | None
    decided_at: datetime | None
    decision_note: str | None
    paid_reference: str | None
    paid_at: datetime | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
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
        found = _by_key(tx, customer_id, key)
        if found is not None:
            if found.request_hash != digest:
                raise IdempotencyKeyReused("This key stands for another request.")
            return found
        heads.count_day(tx, customer_id, now, 1, env.settings.max_daily_transactions)
        made = ids.new_owned(customer_id)
        is_free = not needs_approval(tx, env.settings, customer_id, money, now)
        wallets.take_out(
            tx, now, customer_id, money, "held", reason="WALLET_WITHDRAWAL", txn_id=made,
            event=None, subject_id=made, reference=told[:255], request_key=key,
            request_hash=number_of(digest),
        )  # fmt: skip
        tx.run(
            "insert into withdrawals (customer_id, id, currency, amount_minor, state, destination,"
            " requested_by, requested_persons, decided_at, hold_txn_id, request_key,"
            " request_hash, metadata, created_at) values (%(customer_id)s, %(id)s, %(currency)s,"
            " %(minor)s, %(state)s,"
            " %(destination)s, %(by)s, %(persons)s, %(decided_at)s, %(id)s, %(key)s,"
            " %(digest)s, %(metadata)s, %(now)s)",
            {
                "customer_id": customer_id, "id": made, "currency": money.currency,
                "minor": money.minor, "state": "approved" if is_free else "requested",
                "destination": told, "by": by, "persons": persons_of(by, persons),
                "decided_at": now if is_free else None,
                "key": key, "digest": digest, "metadata": jsonb(kept), "now": now,
            },
        )  # fmt: skip
        one = get(tx, customer_id, made)
        _tell(tx, now, one, "requested", by)
        if is_free:
            _tell(tx, now, one, "approved", "the threshold", by="the threshold")
        return one


def decide(
    env: Env, customer_id: UUID, withdrawal_id: UUID, decision: str, *, by: str,
    note: str | None = None, persons: Sequence[str] | None = None,
) -> Withdrawal:  # fmt: skip
    """`approve` what was requested, or `reject` what is not paid yet: held -> wallet.

    `persons`: who is behind the name `by`. Raises ApprovalRequired where that is who asked for it,
    Conflict where it is past that; for an approval also WalletFrozen, and Conflict where the
    wallet owes: rejecting repays it. The same decision by the same person again changes nothing.
    """
    if decision not in ("approve", "reject"):
        raise InvalidRequest("decision is 'approve' or 'reject'.", param="decision")
    told = fields.optional_text(note, "note", most=500)
    state = "approved" if decision == "approve" else "rejected"
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        one = get(tx, customer_id, withdrawal_id)
        if one.state == state and one.decided_by == by:
            return one
        asked = persons_of(one.requested_by or "", one.requested_persons)
        if not are_two(asked, persons_of(by, persons)):
            raise ApprovalRequired("Somebody else than who asked for it decides.")
        if one.state not in (OPEN if state == "rejected" else ("requested",)):
            raise Conflict(f"This withdrawal is {one.state}.")
        if state == "approved":
            _check_wallet(tx, one)
        txn_id = _give_back(tx, now, one) if state == "rejected" else None
        moved = _move(tx, one, state, decided_by=by, decided_at=now, decision_note=told,
                      txn_id=txn_id)  # fmt: skip
        _tell(tx, now, moved, state, by, by=by)
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
        " and state in ('requested', 'approved', 'paid') group by currency",
        {"customer_id": customer_id, "since": now - timedelta(days=1)},
    )
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
        "select customer_id, id, currency, amount_minor, state, destination, requested_by,"
        " decided_by, decided_at, decision_note, paid_reference, paid_at, metadata, created_at,"
        " updated_at, request_hash, requested_persons from withdrawals"
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
        "select customer_id, id, currency, amount_minor, state, destination, requested_by,"
        " decided_by, decided_at, decision_note, paid_reference, paid_at, metadata, created_at,"
        " updated_at, request_hash, requested_persons from withdrawals"
        " where (%(customer_id)s::uuid is null or customer_id = %(customer_id)s)"
        " and (%(state)s::text is null or state = %(state)s)"
        " and (%(at)s::timestamptz is null or (created_at, id) < (%(at)s::timestamptz,"
        "  %(after)s::uuid)) order by created_at desc, id desc limit %(limit)s",
        {"customer_id": customer_id, "state": state, "limit": limit, "after": after,
         "at": seen.created_at if seen else None},
    )  # fmt: skip
    return [_withdrawal(row) for row in rows]


def _by_key(tx: Tx, customer_id: UUID, key: UUID) -> Withdrawal | None:
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
    cause = {"actor": actor}
    emit_many(
        tx, [wallets.new_event(f"withdrawal.{what}", one.customer_id, one.id, data, now, cause)]
    )


def _withdrawal(row: dict[str, Any]) -> Withdrawal:
    told = {name: value for name, value in row.items()
            if name not in ("amount_minor", "currency", "request_hash")}  # fmt: skip
    money = Money(row["amount_minor"], row["currency"], minor=True)
    return Withdrawal(**told, amount=money, request_hash=bytes(row["request_hash"]))
