"""Wallets: a customer's money with us, one for each currency, made when first needed.

The balance is the account `wallet` of the customer in the wallet's currency; `held` is set aside
there, and `debt` is below zero by what the customer owes. Whatever comes in repays the debt
first, so a wallet that owes is empty. Money that has come is recorded whatever the wallet's state;
a frozen or closed one refuses what somebody chooses to do with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import (
    AmountTooLarge,
    Conflict,
    GoodsUsed,
    InsufficientFunds,
    InvalidRequest,
    NotFound,
    WalletFrozen,
)
from paydesk.flows import heads, ledger, rates
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.ledger import Entry
from paydesk.rules import fields
from paydesk.rules.money import Money, currency_code
from paydesk.tracker.stores.joined import ServicePayment

#: (customer, currency): what a wallet is of.
Whose = tuple[UUID, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """A wallet as it stands, in minor units. `state` is open, frozen or closed; `held` is set
    aside for holds and withdrawals, `owed` what the next deposits repay."""

    id: UUID
    customer_id: UUID
    currency: str
    state: str
    balance: int
    held: int
    owed: int
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Money that comes into a wallet from the account `source`. `data` goes into its event, which
    is not written where `event` is None."""

    customer_id: UUID
    money: Money
    source: str
    reason: str
    txn_id: UUID
    event: str | None
    subject_id: UUID | None = None
    request_key: UUID | None = None
    request_hash: int | None = None
    reverses_id: UUID | None = None
    note: str | None = None
    reference: str | None = None
    metadata: Mapping[str, Any] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    cause: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """`repaid` of it went to the debt; `balance` is the wallet's after it. `same`: this request
    key had brought it before, and nothing was done."""

    wallet_id: UUID
    transfer_id: UUID
    txn_id: UUID
    amount: int
    repaid: int
    balance: int
    same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """What became of money that was taken back, in minor units: `asked` = `taken` from the wallet
    + `owed` as debt + `forgiven` as our loss."""

    asked: int
    taken: int
    owed: int
    forgiven: int
    txn_id: UUID


# In and out -------------------------------------------------------------------------------------


def deposit(
    tx: Tx, now: datetime, deposits: Sequence[tuple[ServicePayment, Money, UUID]]
) -> list[Arrived]:
    """Top-ups that were paid: (payment, amount, ledger transaction), each once per payment.

    Posts deposits -> wallet (WALLET_DEPOSIT), which takes the place of the sale; then wallet ->
    debt (DEBT_REPAYMENT) where the customer owes. The heads are locked. A wallet is made when
    absent; a frozen one takes it too, for the money is here. About six statements for any number.
    """
    return put_in(
        tx,
        now,
        [
            Arrival(
                customer_id=payment.customer_id, money=money, source="deposits",
                reason="WALLET_DEPOSIT", txn_id=txn_id, event="wallet.deposited",
                subject_id=payment.key[1], reference=payment.reference,
                request_key=ids.request_key("goods", payment.id, "wallet"),
                data={"payment_id": payment.key[1]},
            )
            for payment, money, txn_id in deposits
        ],
    )  # fmt: skip


def refund_in(
    tx: Tx, now: datetime, payment: ServicePayment, amount_minor: int, txn_id: UUID,
    request_key: UUID,
) -> Arrived:  # fmt: skip
    """A refund of a payment from the wallet comes back into it: refunds -> wallet (REFUND_PAID).

    Done at once, since no provider is asked. The head is locked; debts are repaid first; the same
    `request_key` does it once.
    """
    return put_in(
        tx,
        now,
        [
            Arrival(
                customer_id=payment.customer_id, source="refunds", reason="REFUND_PAID",
                money=Money(amount_minor, payment.currency, minor=True), txn_id=txn_id,
                event="wallet.refunded", subject_id=payment.key[1], request_key=request_key,
                reference=payment.reference, data={"payment_id": payment.key[1]},
            )
        ],
    )[0]  # fmt: skip


def take_back(
    tx: Tx, now: datetime, payment: ServicePayment, amount_minor: int, *, cause: str,
    cause_id: UUID, policy: str,
) -> TakenBack:  # fmt: skip
    """A top-up goes back: take the money out of the wallet again. The head is locked.

    Afterwards `deposits` holds `amount_minor` more, so that the refund or dispute that follows
    debits `deposits` for all of it. It comes from: wallet -> deposits, what is there (held money
    is left where it is); and for the shortfall, by `policy`: debt -> deposits, owed (`debt`);
    losses -> deposits, forgiven (`clamp`); or GoodsUsed with `missing`, and nothing is done
    (`block`). All are WALLET_CLAWBACK with the payment as subject, once per `cause_id`: call it
    once for each and keep the answer for `give_back`.
    """
    owner, currency = payment.customer_id, payment.currency
    assert amount_minor > 0, "nothing to take back"
    wallet_id = ensure(tx, now, [(owner, currency)])[owner, currency]
    balance = ledger.balances(tx, [owner], "wallet", currency)[owner]
    taken = min(balance, amount_minor)
    short = amount_minor - taken
    if short and policy == "block":
        raise GoodsUsed(
            f"{Money(short, currency, minor=True)} of this top-up is spent.", missing=short
        )
    owed, forgiven = (0, short) if policy == "clamp" else (short, 0)
    txn_id = ids.new_owned(owner)
    parts = {"wallet": taken, "debt": owed, "losses": forgiven}
    ledger.post(
        tx,
        [
            Entry(
                customer_id=owner, debit=account, credit="deposits", asset=currency, amount=part,
                reason="WALLET_CLAWBACK", txn_id=txn_id, subject_id=payment.key[1],
                request_key=ids.request_key("wallet clawback", str(cause_id), account),
                effective_at=now, note=cause,
            )
            for account, part in parts.items()
            if part
        ],
    )  # fmt: skip
    made = TakenBack(asked=amount_minor, taken=taken, owed=owed, forgiven=forgiven, txn_id=txn_id)
    data = {
        "amount": amount_minor, "currency": currency, "balance": balance - taken, "taken": taken,
        "owed": owed, "forgiven": forgiven, "payment_id": payment.key[1], "cause": cause,
    }  # fmt: skip
    emit_many(tx, [new_event("wallet.taken_back", owner, wallet_id, data, now)])
    return made


def give_back(
    tx: Tx, now: datetime, payment: ServicePayment, was: TakenBack, *, cause: str, cause_id: UUID
) -> UUID:
    """Undo a `take_back` (the refund failed, the dispute was won); answers the transaction.

    deposits -> wallet for what had been taken and owed, with a standing debt repaid from it;
    deposits -> losses for what had been forgiven. WALLET_CLAWBACK_REVERSAL, once per `cause_id`.
    """
    owner, currency = payment.customer_id, payment.currency
    txn_id = ids.new_owned(owner)
    if was.forgiven:
        key = ids.request_key("wallet clawback undone", str(cause_id), "losses")
        ledger.post(
            tx,
            [
                Entry(
                    customer_id=owner, debit="deposits", credit="losses", asset=currency,
                    amount=was.forgiven, reason="WALLET_CLAWBACK_REVERSAL", txn_id=txn_id,
                    subject_id=payment.key[1], request_key=key, effective_at=now, note=cause,
                )
            ],
        )  # fmt: skip
    if back := was.taken + was.owed:
        put_in(
            tx,
            now,
            [
                Arrival(
                    customer_id=owner, money=Money(back, currency, minor=True), source="deposits",
                    reason="WALLET_CLAWBACK_REVERSAL", txn_id=txn_id, event="wallet.given_back",
                    subject_id=payment.key[1], note=cause,
                    request_key=ids.request_key("wallet clawback undone", str(cause_id), "wallet"),
                    data={"payment_id": payment.key[1], "cause": cause},
                )
            ],
        )  # fmt: skip
    return txn_id


def put_in(tx: Tx, now: datetime, arrivals: Sequence[Arrival]) -> list[Arrived]:
    """Book money into wallets, debts repaid first; an arrival whose key was used before is not
    booked again. The heads are locked; wallets are made when absent."""
    if not arrivals:
        return []
    keys = {(a.customer_id, a.money.currency) for a in arrivals}
    wallets = ensure(tx, now, keys)
    stored = ledger.known(
        tx, [(a.customer_id, a.request_key) for a in arrivals if a.request_key is not None]
    )
    balances = _balances(tx, keys)
    entries: list[Entry] = []
    events: list[NewEvent] = []
    answer: list[Arrived] = []
    for one in arrivals:
        key = (one.customer_id, one.money.currency)
        before = stored.get((one.customer_id, one.request_key)) if one.request_key else None
        if before is not None:
            answer.append(Arrived(
                wallet_id=wallets[key], transfer_id=before[0], txn_id=one.txn_id,
                amount=one.money.minor, repaid=0, balance=balances[key][0], same=True,
            ))  # fmt: skip
            continue
        entry = _entry_in(one, now)
        assert entry.id is not None
        if one.request_key:
            stored[one.customer_id, one.request_key] = (entry.id, one.request_hash)
        entries.append(entry)
        balance, debt = balances[key]
        repaid = min(-debt, one.money.minor)
        if repaid:
            entries.append(_repayment(entry, wallets[key], repaid))
        balances[key] = balance + one.money.minor - repaid, debt + repaid
        answer.append(Arrived(
            wallet_id=wallets[key], transfer_id=entry.id, txn_id=one.txn_id,
            amount=one.money.minor, repaid=repaid, balance=balances[key][0], same=False,
        ))  # fmt: skip
        if one.event:
            data = {**_moved(one.money, balances[key][0], entry.id), "repaid": repaid, **one.data}
            events.append(new_event(one.event, one.customer_id, wallets[key], data, now, one.cause))
    ledger.post(tx, entries)
    emit_many(tx, events)
    return answer


def take_out(
    tx: Tx, now: datetime, customer_id: UUID, money: Money, target: str, *, reason: str,
    txn_id: UUID, event: str | None, data: Mapping[str, Any] | None = None, **more: Any,
) -> tuple[UUID, int]:  # fmt: skip
    """Book money from a wallet to the account `target`; answers (transfer, balance after it).

    The head is locked. `more` are members of the entry. Raises InsufficientFunds, WalletFrozen.
    """
    wallet_id = usable(tx, customer_id, money.currency, needed=money.minor)
    balance = ledger.balances(tx, [customer_id], "wallet", money.currency)[customer_id]
    if balance < money.minor:
        raise short_of(balance, money)
    cause = more.pop("cause", None)
    entry = Entry(
        id=ids.new_owned(customer_id), customer_id=customer_id, debit="wallet", credit=target,
        asset=money.currency, amount=money.minor, reason=reason, txn_id=txn_id, effective_at=now,
        **more,
    )  # fmt: skip
    ledger.post(tx, [entry])
    assert entry.id is not None
    left = balance - money.minor
    if event:
        told = {**_moved(money, left, entry.id), **(data or {})}
        emit_many(tx, [new_event(event, customer_id, wallet_id, told, now, cause)])
    return entry.id, left


def short_of(balance: int, money: Money) -> InsufficientFunds:
    """The refusal of a wallet that holds less than `money`."""
    there = Money(balance, money.currency, minor=True)
    return InsufficientFunds(
        f"Needs {money}, the wallet holds {there}.", needed=money.minor, balance=balance,
        currency=money.currency,
    )  # fmt: skip


def usable(tx: Tx, customer_id: UUID, currency: str, *, needed: int = 0) -> UUID:
    """The wallet to take money from. Raises WalletFrozen; InsufficientFunds where there is none."""
    row = tx.one(
        "select id, state from wallets where customer_id = %(customer_id)s"
        " and currency = %(currency)s",
        {"customer_id": customer_id, "currency": currency},
    )
    if row is None:
        raise short_of(0, Money(needed, currency, minor=True))
    if row["state"] != "open":
        raise WalletFrozen(f"This wallet is {row['state']}.", state=row["state"])
    return row["id"]


def refuse_frozen(tx: Tx, customer_id: UUID, currency: str) -> None:
    """Raises WalletFrozen where a wallet is there and takes nothing; none at all is fine."""
    state = tx.value(
        "select state from wallets where customer_id = %(customer_id)s"
        " and currency = %(currency)s",
        {"customer_id": customer_id, "currency": currency},
    )
    if state not in (None, "open"):
        raise WalletFrozen(f"This wallet is {state}.", state=state)


def ensure(tx: Tx, now: datetime, wanted: Iterable[Whose]) -> dict[Whose, UUID]:
    """The ids of these wallets, made when absent. The heads are locked."""
    keys = sorted(set(wanted))
    values = {"customers": [k[0] for k in keys], "currencies": [k[1] for k in keys]}
    rows = tx.all(
        "select w.customer_id, w.currency, w.id"
        " from unnest(%(customers)s::uuid[], %(currencies)s::text[]) as k(c, currency)"
        " cross join lateral (select customer_id, currency, id from wallets"
        "  where customer_id = k.c and currency = k.currency limit 1) w",
        values,
    )
    found = {(row["customer_id"], row["currency"]): row["id"] for row in rows}
    fresh = {key: ids.new_owned(key[0]) for key in keys if key not in found}
    if fresh:
        tx.run(
            "insert into wallets (customer_id, id, currency, created_at, updated_at)"
            " select customer_id, id, currency, %(now)s, %(now)s from unnest(%(customers)s::uuid[],"
            "  %(ids)s::uuid[], %(currencies)s::text[]) as n (customer_id, id, currency)",
            {
                "now": now, "customers": [k[0] for k in fresh], "ids": list(fresh.values()),
                "currencies": [k[1] for k in fresh],
            },
        )  # fmt: skip
        emit_many(tx, [
            new_event("wallet.created", owner, made, {"currency": currency}, now)
            for (owner, currency), made in fresh.items()
        ])  # fmt: skip
    return found | fresh


def _balances(tx: Tx, keys: Iterable[Whose]) -> dict[Whose, tuple[int, int]]:
    """(wallet, debt) of each."""
    found: dict[Whose, tuple[int, int]] = {}
    by_currency: dict[str, list[UUID]] = {}
    for owner, currency in keys:
        by_currency.setdefault(currency, []).append(owner)
    for currency, owners in by_currency.items():
        wallets = ledger.balances(tx, owners, "wallet", currency)
        debts = ledger.balances(tx, owners, "debt", currency)
        found |= {(owner, currency): (wallets[owner], debts[owner]) for owner in owners}
    return found


def _entry_in(one: Arrival, now: datetime) -> Entry:
    return Entry(
        id=ids.new_owned(one.customer_id), customer_id=one.customer_id, debit=one.source,
        credit="wallet", asset=one.money.currency, amount=one.money.minor, reason=one.reason,
        txn_id=one.txn_id, subject_id=one.subject_id, request_key=one.request_key,
        request_hash=one.request_hash, reverses_id=one.reverses_id, note=one.note,
        reference=one.reference, metadata=one.metadata, effective_at=now,
    )  # fmt: skip


def _repayment(entry: Entry, wallet_id: UUID, part: int) -> Entry:
    return Entry(
        customer_id=entry.customer_id, debit="wallet", credit="debt", asset=entry.asset,
        amount=part, reason="DEBT_REPAYMENT", txn_id=entry.txn_id, subject_id=wallet_id,
        effective_at=entry.effective_at,
    )  # fmt: skip


def _moved(money: Money, balance: int, transfer_id: UUID) -> dict[str, Any]:
    return {
        "amount": money.minor, "currency": money.currency, "balance": balance,
        "transfer_id": transfer_id,
    }  # fmt: skip


def new_event(
    type: str, customer_id: UUID, subject_id: UUID, data: Mapping[str, Any], now: datetime,
    cause: Mapping[str, Any] | None = None,
) -> NewEvent:  # fmt: skip
    told = {name: str(v) if isinstance(v, UUID) else v for name, v in data.items()}
    return NewEvent(
        customer_id=customer_id, type=type, subject_id=subject_id, data=told, at=now, cause=cause
    )


# What is asked ---------------------------------------------------------------------------------


def check_money(env: Env, money: Money) -> None:
    """Raises InvalidRequest at zero and below, AmountTooLarge above the limit of one transaction:
    what the money is worth in the default currency; without a rate nothing limits it."""
    if money.minor <= 0:
        raise InvalidRequest("The amount must be above zero.", param="amount")
    if rates.is_above(env, money, most := env.settings.max_transaction_amount):
        raise AmountTooLarge(f"At most {most} in one transaction.", param="amount", limit=most)


def digest_of(*parts: Any) -> bytes:
    """What a request key was used with, where the caller did not say."""
    text = json.dumps(parts, default=str, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def number_of(digest: bytes) -> int:
    """A digest as the ledger keeps it beside a request key: 63 bits."""
    return int.from_bytes(digest[:8], "big") >> 1


# Wallets themselves -----------------------------------------------------------------------------


def make(
    env: Env, customer_id: UUID, currency: str, *, metadata: Mapping[str, Any] | None = None
) -> Wallet:
    """The customer's wallet of this currency, made when absent. Raises InvalidRequest."""
    code = currency_code(currency)
    told = fields.metadata(metadata) if metadata is not None else None
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        wallet_id = ensure(tx, now, [(customer_id, code)])[customer_id, code]
        if told is not None:
            tx.run(
                "update wallets set metadata = %(metadata)s"
                " where customer_id = %(customer_id)s and id = %(id)s",
                {"customer_id": customer_id, "id": wallet_id, "metadata": jsonb(told)},
            )
        return get(tx, customer_id, wallet_id)


def get(tx: Tx, customer_id: UUID, wallet_id: UUID) -> Wallet:
    """One wallet. Raises NotFound, also for another customer's."""
    found = _read(tx, customer_id, wallet_id=wallet_id)
    if not found:
        raise NotFound(f"No such wallet: {ids.show('wallet', wallet_id)}.")
    return found[0]


def of(tx: Tx, customer_id: UUID, currency: str) -> Wallet | None:
    """The customer's wallet of a currency, or None where none was needed yet."""
    return next(iter(_read(tx, customer_id, currency=currency)), None)


def list_(tx: Tx, customer_id: UUID) -> list[Wallet]:
    """All wallets of a customer, by currency: at most one for each currency there is."""
    return _read(tx, customer_id)


def balance(tx: Tx, customer_id: UUID, currency: str) -> Money:
    """What the customer can use now of this currency; nothing where there is no wallet."""
    found = ledger.balances(tx, [customer_id], "wallet", currency)[customer_id]
    return Money(found, currency, minor=True)


def set_state(
    env: Env, customer_id: UUID, wallet_id: UUID, action: str, *, actor: str,
    reason: str | None = None,
) -> Wallet:  # fmt: skip
    """Staff `freeze`, `unfreeze` (also opens a closed one again) or `close` a wallet.

    Repeating it changes nothing. Only an empty wallet without debt or money set aside is closed;
    raises Conflict otherwise, NotFound, InvalidRequest.
    """
    states = {"freeze": "frozen", "unfreeze": "open", "close": "closed"}
    if action not in states:
        raise InvalidRequest("action is freeze, unfreeze or close.", param="action")
    told = fields.optional_text(reason, "reason", most=500)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        wallet = get(tx, customer_id, wallet_id)
        state = states[action]
        if wallet.state == state:
            return wallet
        if action == "freeze" and wallet.state == "closed":
            raise Conflict("This wallet is closed.")
        if action == "close" and (wallet.balance or wallet.held or wallet.owed):
            raise Conflict("Only an empty wallet can be closed.")
        tx.run(
            "update wallets set state = %(state)s where customer_id = %(customer_id)s"
            " and id = %(id)s",
            {"customer_id": customer_id, "id": wallet_id, "state": state},
        )
        data = {"currency": wallet.currency, "state": state, "reason": told}
        type_ = {"freeze": "frozen", "unfreeze": "opened", "close": "closed"}[action]
        emit_many(tx, [
            new_event(f"wallet.{type_}", customer_id, wallet_id, data, now, {"actor": actor})
        ])  # fmt: skip
        return get(tx, customer_id, wallet_id)


def _read(
    tx: Tx, customer_id: UUID, *, wallet_id: UUID | None = None, currency: str | None = None
) -> list[Wallet]:
    rows = tx.all(
        "select w.customer_id, w.id, w.currency, w.state, w.metadata, w.created_at, w.updated_at,"
        " coalesce(a.balance, 0) as balance, coalesce(a.held, 0) as held,"
        " coalesce(a.owed, 0) as owed from wallets w left join lateral ("
        "  select sum(x.balance) filter (where x.code = 2)::bigint as balance,"
        "   sum(x.balance) filter (where x.code = 3)::bigint as held,"
        "   -sum(x.balance) filter (where x.code = 4)::bigint as owed from accounts x"
        "   where x.customer_id = %(customer_id)s and x.code in (2, 3, 4)"
        "   and x.asset = w.currency) a on true"
        " where w.customer_id = %(customer_id)s and (%(id)s::uuid is null or w.id = %(id)s::uuid)"
        " and (%(currency)s::text is null or w.currency = %(currency)s::text)"
        " order by w.currency limit 200",
        {"customer_id": customer_id, "id": wallet_id, "currency": currency},
    )
    return [Wallet(**row) for row in rows]
