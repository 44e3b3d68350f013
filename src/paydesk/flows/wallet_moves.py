"""Money moves between wallets: over to another customer, or into another currency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from paydesk import causes, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    AmountTooSmall,
    Conflict,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
)
from paydesk.flows import heads, ledger, rates, wallets, withdrawals
from paydesk.flows.credit_moves import may_move
from paydesk.flows.events import emit_many
from paydesk.flows.wallets import Arrival, check_money, digest_of, number_of
from paydesk.rules import fields, margins
from paydesk.rules import rates as rules
from paydesk.rules.money import Money, currency_code
from paydesk.rules.rates import Rate
from paydesk.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """Money that went to another customer; `balance` is the giver's after it.

    `state` is a withdrawal's: paid; or requested, where `withdrawal_id` waits for a person with
    the money set aside, and later what became of it.
    """

    transfer_id: UUID
    txn_id: UUID
    to_id: UUID
    amount: Money
    balance: int
    same: bool
    state: str = "paid"
    withdrawal_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a conversion would bring. It holds until `expires_at`, and no longer than until a newer
    rate of the pair is stored, or another margin is set.

    Of `give`, `margin` (`margin_bps` basis points) is kept before it is converted; `rounding` is
    given too, but not needed for what arrives.
    """

    give: Money
    get: Money
    margin: Money
    margin_bps: int
    rounding: Money
    rate: Rate
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """Money of one wallet that became money of another, at the stored rate `rate`.

    `margin` (`margin_bps` basis points) was kept of `give`, and `rounding` is the part of the rest
    that was not needed for what arrived: both are revenue.
    """

    id: UUID
    customer_id: UUID
    give: Money
    get: Money
    margin: Money
    margin_bps: int
    rounding: Money
    rate: Rate
    txn_id: UUID
    created_at: datetime
    same: bool = False


# To another customer ----------------------------------------------------------------------------


def transfer_now(
    env: Env, from_id: UUID, to_id: UUID, money: Money, *, request_key: UUID | None = None,
    request_hash: int | None = None, reference: str | None = None, note: str | None = None,
    by: str | None = None, persons: Sequence[str] | None = None,
) -> Transferred:  # fmt: skip
    """Move money from one customer's wallet into another's, as `wallet_transfer_policy` allows.

    Where `withdrawals.transfer_needs_approval` says so it is set aside instead, asked for `by`
    whom, until somebody else decides. Otherwise:

    wallet -> transit in the giver's books and transit -> wallet in the other's, in one
    transaction with both heads locked in order. A debt of the receiver is repaid first. Raises
    TransferNotAllowed, InsufficientFunds, WalletFrozen (either wallet), TransactionLimit,
    AmountTooLarge, InvalidRequest, IdempotencyKeyReused; then nothing happened.
    """
    check_money(env, money)
    fields.optional_text(reference, "reference", most=255)
    fields.optional_text(note, "note", most=500)
    if from_id == to_id:
        raise InvalidRequest("Both are the same customer.", param="to")
    if request_hash is None:
        request_hash = ledger.hash_of(
            "wallet transfer", to_id, money.minor, money.currency, reference, note
        )
    with env.db.transaction(from_id, to_id) as tx:
        if request_key is not None:
            found = _transfer_before(tx, from_id, to_id, money, request_key, request_hash)
            if found is not None:
                return found
        may_move(tx, from_id, to_id, env.settings.wallet_transfer_policy, "Money")
        wallets.refuse_frozen(tx, to_id, money.currency)
        now = heads.decide(tx, env.now(), from_id)
        heads.count_day(tx, from_id, now, 1, env.settings.max_daily_transactions)
        if withdrawals.transfer_needs_approval(tx, env.settings, from_id, money, now):
            one, transfer_id, balance = withdrawals.request_transfer(
                tx, now, from_id, to_id, money, by=by or causes.actor(), persons=persons,
                request_key=request_key or uuid4(), request_hash=request_hash,
                reference=reference, note=note,
            )  # fmt: skip
            return Transferred(
                transfer_id=transfer_id, txn_id=one.id, to_id=to_id, amount=money,
                balance=balance, same=False, state=one.state, withdrawal_id=one.id,
            )  # fmt: skip
        txn_id = ids.new_owned(from_id)
        ends = {"from": from_id, "to": to_id}
        transfer_id, balance = wallets.take_out(
            tx, now, from_id, money, "transit", reason="WALLET_TRANSFER", txn_id=txn_id,
            event="wallet.transferred", data={"direction": "out", **ends}, subject_id=to_id,
            request_key=request_key, request_hash=request_hash if request_key else None,
            reference=reference, note=note,
        )  # fmt: skip
        wallets.put_in(tx, heads.decide(tx, env.now(), to_id), [
            Arrival(
                customer_id=to_id, money=money, source="transit", reason="WALLET_TRANSFER",
                txn_id=txn_id, event="wallet.transferred", subject_id=from_id,
                reference=reference, note=note, data={"direction": "in", **ends},
            )
        ])  # fmt: skip
    return Transferred(
        transfer_id=transfer_id, txn_id=txn_id, to_id=to_id, amount=money, balance=balance,
        same=False,
    )  # fmt: skip


def _transfer_before(
    tx: Tx, from_id: UUID, to_id: UUID, money: Money, key: UUID, request_hash: int | None
) -> Transferred | None:
    found = ledger.known(tx, [(from_id, key)]).get((from_id, key))
    if found is None:
        return None
    if found[1] != request_hash:
        raise IdempotencyKeyReused("This key stands for another request.")
    row = tx.one(
        "select txn_id, debit_after from transfers"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": from_id, "id": found[0]},
    )
    assert row is not None
    asked = withdrawals.by_key(tx, from_id, key)
    return Transferred(
        transfer_id=found[0], txn_id=row["txn_id"], to_id=to_id, amount=money,
        balance=row["debit_after"], same=True, state=asked.state if asked else "paid",
        withdrawal_id=asked.id if asked else None,
    )  # fmt: skip


# Into another currency --------------------------------------------------------------------------


def quote(env: Env, give: Money, to: str) -> Quote:
    """What an amount would become now. Raises NoRate, InvalidRequest, AmountTooSmall."""
    target = _target(give, to)
    with env.db.transaction() as tx:
        return _quote(tx, env.settings, give, target, env.now())


def convert_now(
    env: Env, customer_id: UUID, give: Money, to: str, *, request_key: UUID | None = None,
    request_hash: bytes | None = None, rate_id: UUID | None = None, margin_bps: int | None = None,
) -> Conversion:  # fmt: skip
    """Make money of one wallet money of another of the same customer, rounded down.

    wallet -> exchange in the one currency, exchange -> wallet in the other (both
    WALLET_CONVERSION); our margin goes exchange -> revenue (CONVERSION_MARGIN), and so does what
    was given beyond need, in whole minor units (ROUNDING). `rate_id` and `margin_bps` are a
    quote's: Conflict where another rate or margin serves the pair by now. The same `request_key`
    converts once. Raises NoRate, InsufficientFunds, WalletFrozen,
    AmountTooSmall (nothing would arrive), AmountTooLarge, TransactionLimit.
    """
    check_money(env, give)
    target = _target(give, to)
    key = request_key or uuid4()
    digest = request_hash or digest_of(
        "convert", give.minor, give.currency, target, rate_id, margin_bps
    )
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        found = _conversion_before(tx, customer_id, key, digest)
        if found is not None:
            return found
        wallets.usable(tx, customer_id, give.currency, needed=give.minor)
        wallets.refuse_frozen(tx, customer_id, target)
        quoted = _quote(tx, env.settings, give, target, now)
        if rate_id not in (None, quoted.rate.id):
            raise Conflict("The rate has changed since the quote: ask again.", param="rate")
        if margin_bps not in (None, quoted.margin_bps):
            raise Conflict(
                "The margin has changed since the quote: ask again.", param="margin_bps"
            )
        heads.count_day(tx, customer_id, now, 1, env.settings.max_daily_transactions)
        conversion_id = ids.new_owned(customer_id)
        txn_id = _book(tx, now, customer_id, conversion_id, quoted, (key, number_of(digest)))
        _write(tx, now, customer_id, conversion_id, quoted, txn_id, key, digest)
        return get_conversion(tx, customer_id, conversion_id)


def get_conversion(tx: Tx, customer_id: UUID, conversion_id: UUID) -> Conversion:
    """One conversion. Raises NotFound, also for another customer's."""
    found = _conversions(tx, customer_id, conversion_id=conversion_id, limit=1)
    if not found:
        raise NotFound(f"No such conversion: {ids.show('conversion', conversion_id)}.")
    return found[0]


def list_conversions(
    tx: Tx, customer_id: UUID, *, limit: int = 20, after: UUID | None = None
) -> list[Conversion]:
    """A customer's conversions, newest first; the next page begins after the last id."""
    return _conversions(tx, customer_id, limit=limit, after=after)


def _target(give: Money, to: str) -> str:
    target = currency_code(to, param="to")
    if target == give.currency:
        raise InvalidRequest("Both are the same currency.", param="to")
    if give.minor <= 0:
        raise InvalidRequest("The amount must be above zero.", param="amount")
    return target


def _quote(tx: Tx, settings: Settings, give: Money, target: str, now: datetime) -> Quote:
    most = settings.rate_max_age_days
    rate = rates.to_convert(tx, give.currency, target, now, max_age_days=most)
    bps = margins.parse(settings.conversion_margin).of(give.currency, target)
    done = rules.convert(give.minor, give.currency, target, rate, bps)
    if not done.to_minor:
        raise AmountTooSmall(
            f"{give} is less than the smallest amount of {target.upper()}.", param="amount"
        )
    return Quote(
        give=give, get=Money(done.to_minor, target, minor=True), rate=rate, margin_bps=bps,
        margin=Money(done.margin_minor, give.currency, minor=True),
        rounding=Money(done.rounding_minor, give.currency, minor=True),
        expires_at=rates.ends_at(rate, most),
    )  # fmt: skip


def _book(
    tx: Tx, now: datetime, customer_id: UUID, conversion_id: UUID, quoted: Quote,
    request: tuple[UUID, int],
) -> UUID:  # fmt: skip
    txn_id = ids.new_owned(customer_id)
    wallets.take_out(
        tx, now, customer_id, quoted.give, "exchange", reason="WALLET_CONVERSION", txn_id=txn_id,
        event=None, subject_id=conversion_id, request_key=request[0], request_hash=request[1],
    )  # fmt: skip
    ledger.post(tx, [
        ledger.Entry(
            customer_id=customer_id, debit="exchange", credit="revenue", asset=kept.currency,
            amount=kept.minor, reason=reason, txn_id=txn_id, subject_id=conversion_id,
            effective_at=now,
        )
        for reason, kept in (("CONVERSION_MARGIN", quoted.margin), ("ROUNDING", quoted.rounding))
        if kept
    ])  # fmt: skip
    wallets.put_in(tx, now, [
        Arrival(
            customer_id=customer_id, money=quoted.get, source="exchange",
            reason="WALLET_CONVERSION", txn_id=txn_id, event=None, subject_id=conversion_id,
        )
    ])  # fmt: skip
    data = {
        "from_amount": quoted.give.minor, "from_currency": quoted.give.currency,
        "to_amount": quoted.get.minor, "to_currency": quoted.get.currency,
        "rate": rules.plain(quoted.rate.rate), "margin": quoted.margin.minor,
        "margin_bps": quoted.margin_bps, "rounding": quoted.rounding.minor,
    }  # fmt: skip
    emit_many(tx, [wallets.new_event("wallet.converted", customer_id, conversion_id, data, now)])
    return txn_id


def _write(
    tx: Tx, now: datetime, customer_id: UUID, conversion_id: UUID, quoted: Quote, txn_id: UUID,
    key: UUID, digest: bytes,
) -> None:  # fmt: skip
    tx.run(
        "insert into conversions (customer_id, id, rate_id, is_inverse, from_currency, from_minor,"
        " to_currency, to_minor, margin_bps, margin_minor, rounding_minor, txn_id, request_key,"
        " request_hash, created_at)"
        " values (%(customer_id)s, %(id)s, %(rate_id)s, %(is_inverse)s, %(from_currency)s,"
        " %(from_minor)s, %(to_currency)s, %(to_minor)s, %(margin_bps)s, %(margin)s, %(rounding)s,"
        " %(txn_id)s, %(key)s, %(digest)s, %(now)s)",
        {
            "customer_id": customer_id, "id": conversion_id, "rate_id": quoted.rate.id,
            "is_inverse": quoted.rate.base != quoted.give.currency,
            "from_currency": quoted.give.currency, "from_minor": quoted.give.minor,
            "to_currency": quoted.get.currency, "to_minor": quoted.get.minor,
            "margin_bps": quoted.margin_bps, "margin": quoted.margin.minor,
            "rounding": quoted.rounding.minor, "txn_id": txn_id, "key": key, "digest": digest,
            "now": now,
        },
    )  # fmt: skip


def _conversion_before(
    tx: Tx, customer_id: UUID, key: UUID, digest: bytes
) -> Conversion | None:
    row = tx.one(
        "select id, request_hash from conversions"
        " where customer_id = %(customer_id)s and request_key = %(key)s",
        {"customer_id": customer_id, "key": key},
    )
    if row is None:
        return None
    if bytes(row["request_hash"]) != digest:
        raise IdempotencyKeyReused("This key stands for another request.")
    return replace(get_conversion(tx, customer_id, row["id"]), same=True)


def _conversions(
    tx: Tx, customer_id: UUID, *, limit: int, conversion_id: UUID | None = None,
    after: UUID | None = None,
) -> list[Conversion]:  # fmt: skip
    rows = tx.all(
        "select c.id, c.from_currency, c.from_minor, c.to_currency, c.to_minor, c.margin_bps,"
        " c.margin_minor, c.rounding_minor, c.txn_id, c.created_at, r.id as rate_id, r.base,"
        " r.quote, r.rate, r.source, r.at, r.entered_by, r.created_at as rate_created_at"
        " from conversions c join rates r on r.id = c.rate_id"
        " where c.customer_id = %(customer_id)s"
        " and (%(id)s::uuid is null or c.id = %(id)s::uuid)"
        " and (%(after)s::uuid is null or c.id < %(after)s::uuid)"
        " order by c.id desc limit %(limit)s",
        {"customer_id": customer_id, "id": conversion_id, "after": after, "limit": limit},
    )
    return [_conversion(row, customer_id) for row in rows]


def _conversion(row: dict[str, Any], customer_id: UUID) -> Conversion:
    return Conversion(
        id=row["id"], customer_id=customer_id, txn_id=row["txn_id"],
        give=Money(row["from_minor"], row["from_currency"], minor=True),
        get=Money(row["to_minor"], row["to_currency"], minor=True),
        margin=Money(row["margin_minor"], row["from_currency"], minor=True),
        margin_bps=row["margin_bps"],
        rounding=Money(row["rounding_minor"], row["from_currency"], minor=True),
        rate=Rate(
            id=row["rate_id"], base=row["base"], quote=row["quote"], rate=row["rate"],
            source=row["source"], at=row["at"], entered_by=row["entered_by"],
            created_at=row["rate_created_at"],
        ),
        created_at=row["created_at"],
    )  # fmt: skip
