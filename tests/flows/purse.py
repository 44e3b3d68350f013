"""What tests of wallets share: money put into them, and how everything stands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.flows import heads, ledger, wallets
from paydesk.flows.wallets import Arrival
from paydesk.rules.money import Money
from paydesk.tracker.stores.joined import ServicePayment


def fill(env: Any, customer: Any, *amounts: Money) -> None:
    """Money in a customer's wallets, as if it had been paid in: clearing -> deposits -> wallet."""
    owner: UUID = customer.uuid
    for money in amounts:
        with env.db.transaction(owner) as tx:
            now = heads.decide(tx, env.now(), owner)
            txn_id = ids.new_owned(owner)
            ledger.post(tx, [
                ledger.Entry(customer_id=owner, debit="clearing", credit="deposits",
                             asset=money.currency, amount=money.minor, reason="TEST_CAPTURE",
                             txn_id=txn_id, effective_at=now)
            ])  # fmt: skip
            wallets.put_in(tx, now, [
                Arrival(customer_id=owner, money=money, source="deposits", txn_id=txn_id,
                        reason="WALLET_DEPOSIT", event="wallet.deposited",
                        data={"payment_id": txn_id})
            ])  # fmt: skip


def account(env: Any, customer: Any, code: str, asset: str) -> int:
    """The stored balance of one account."""
    with env.db.read() as tx:
        return ledger.balances(tx, [customer.uuid], code, asset)[customer.uuid]


def books(env: Any, customer: Any, asset: str) -> dict[str, int]:
    """Every account of a customer in one asset that is not zero."""
    with env.db.read() as tx:
        rows = tx.all(
            "select code, balance from accounts where customer_id = %(c)s and asset = %(a)s"
            " and balance <> 0 order by code",
            {"c": customer.uuid, "a": asset},
        )
    return {ledger.NAMES[row["code"]]: row["balance"] for row in rows}


def event_types(env: Any, customer: Any) -> list[str]:
    with env.db.read() as tx:
        rows = tx.all(
            "select type from events where customer_id = %(c)s order by seq",
            {"c": customer.uuid},
        )
    return [row["type"] for row in rows]


def wallet(env: Any, customer: Any, currency: str) -> Any:
    with env.db.read() as tx:
        return wallets.of(tx, customer.uuid, currency)


def paid(customer, money: Money) -> ServicePayment:
    """A payment as the flows of refunds hand it over."""
    payment_id, now = ids.new_owned(customer.uuid), datetime.now(UTC)
    return ServicePayment(
        id=str(payment_id), customer_id=customer.uuid, user_id=str(customer.uuid),
        amount_cents=money.minor, currency=money.currency, credits_to_add=0, provider="stripe",
        handle="payment_x", price_minor=money.minor, request_key=payment_id, request_hash=b"x",
        created_at=now, updated_at=now,
    )  # fmt: skip


def take_back(env, customer, payment, minor: int, policy: str = "debt"):
    with env.db.transaction(customer.uuid) as tx:
        now = heads.decide(tx, env.now(), customer.uuid)
        cause = ids.new_owned(customer.uuid)
        return wallets.take_back(tx, now, payment, minor, cause="refund", cause_id=cause,
                                 policy=policy)  # fmt: skip
