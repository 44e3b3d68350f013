"""Clawback: what a payment bought is taken back with its money, and given back when that returns.

One row of `clawbacks` for each kind of goods and cause says what was asked, taken, owed and
forgiven; giving back undoes exactly that. Everything here is a step inside the caller's
transaction, which holds the customer's head.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.errors import GoodsUsed
from paydesk.flows import credit_clawback, ledger
from paydesk.rules.refunds import of_sale
from paydesk.settings import Settings
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

#: Goods that a full refund takes, and the functions that take and restore them.
WHOLE_GOODS: dict[str, tuple[str, str, str]] = {
    "access": ("paydesk.flows.access", "revoke_for", "reinstate_for"),
    "service": ("paydesk.flows.services", "end_for", "restore_for"),
    "purchase": ("paydesk.flows.purchases", "refund_for", "restore_for"),
}
#: Why goods that were not handed over yet wait for a person.
REFUNDED = "refunded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of one kind of goods: `asked` = `taken` + `owed` + `forgiven`.

    Credits are whole credits, wallet money minor units; of access, services and purchases it is
    how many, and `detail` names them.
    """

    goods: str
    asked: int
    taken: int
    owed: int = 0
    forgiven: int = 0
    txn_id: UUID | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What taking back would do. `missing` is what is used up, by kind of goods; `is_full`: all
    of the sale is gone then, and with it access, services and purchases."""

    is_full: bool
    credits: int = 0
    credits_expired: int = 0
    wallet_minor: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    access: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Sale:
    """How far a payment's sale is taken back: `before` and `after` of `sold`, in minor units."""

    sold: int
    before: int
    after: int
    is_handed: bool

    @property
    def becomes_full(self) -> bool:
        return self.is_handed and self.before < self.after >= self.sold


def take_back(
    tx: Tx, now: datetime, payment: ServicePayment, *, cause: str, cause_id: UUID,
    amount_minor: int, settings: Settings, is_fact: bool = False, already_minor: int = 0,
) -> list[Taken]:  # fmt: skip
    """Take back the goods that go with `amount_minor` of a payment's captured money.

    `cause` is refund or dispute, `cause_id` its id; once for each, or anew for more of the same
    one, which took `already_minor` before. `is_fact`: the money is gone already, so that the
    policy `block` becomes `debt`; disputes always are. Raises GoodsUsed under `block`, with
    nothing done. Goods that were not handed over yet are blocked.
    """
    before = _rows(tx, payment.customer_id, cause_id)
    if before and not already_minor:
        return [_of_row(row) for row in before]
    policy = settings.clawback_policy
    if policy == "block" and (is_fact or cause == "dispute"):
        policy = "debt"
    sale = _sale(tx, payment, cause_id, amount_minor, already_minor)
    if not sale.is_handed:
        _block(tx, payment)
        return []
    found: list[Taken] = []
    if policy == "block":
        _refuse_used(tx, now, payment, sale)
    if payment.purpose == "wallet" and sale.after > sale.before:
        named = ids.request_key("clawback", str(cause_id), str(already_minor))
        found.append(_take_wallet(tx, now, payment, sale, policy, cause, named))
    done = credit_clawback.take(
        tx, now, payment, sale.sold, sale.after, policy, cause, cause_id, settings
    )
    if done is not None:
        found.append(Taken(
            goods="credits", asked=done.asked, taken=done.taken, owed=done.owed,
            forgiven=done.forgiven, txn_id=done.txn_id, detail=done.detail,
        ))  # fmt: skip
    if sale.becomes_full:
        for goods, (module, take, _) in WHOLE_GOODS.items():
            if step := _step(module, take):
                gone = [str(one) for one in step(tx, now, payment, cause, cause_id) or ()]
                if gone:
                    found.append(Taken(
                        goods=goods, asked=len(gone), taken=len(gone), detail={"ids": gone}
                    ))  # fmt: skip
        _set_fulfillment(tx, payment.key, "done", "reversed")
    _write(tx, now, payment, cause, cause_id, found)
    return found


def give_back(tx: Tx, now: datetime, customer_id: UUID, cause_id: UUID) -> list[Taken]:
    """Undo what this refund or dispute took: the very draws, revocations and postings. Once.

    Answers what was undone.
    """
    rows = [row for row in _rows(tx, customer_id, cause_id) if row["reversed_at"] is None]
    for row in rows:
        made = _give(tx, now, row)
        tx.run(
            "update clawbacks set reversed_at = %(now)s, reversal_txn_id = %(txn_id)s"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": customer_id, "id": row["id"], "now": now, "txn_id": made},
        )
    key = (customer_id, _payment_of(tx, customer_id, cause_id))
    _set_fulfillment(tx, key, "reversed", "done")
    if not _gone(tx, key, cause_id):
        tx.run(
            "update fulfillments set state = 'due', error_code = null, error = null,"
            " try_at = %(now)s where customer_id = %(customer_id)s and payment_id = %(payment_id)s"
            " and state = 'blocked' and error_code = 'refunded'",
            {"customer_id": customer_id, "payment_id": key[1], "now": now},
        )
    return [_of_row(row) for row in rows]


def plan(tx: Tx, payment: ServicePayment, amount_minor: int, *, now: datetime) -> Plan:
    """What taking back would do now. Reads only; `take_back` right after does the same."""
    sale = _sale(tx, payment, None, amount_minor)
    if not sale.is_handed:
        return Plan(is_full=False)
    missing: dict[str, int] = {}
    wallet = sale.after - sale.before if payment.purpose == "wallet" else 0
    if wallet:
        held = ledger.balances(tx, [payment.customer_id], "wallet", payment.currency)
        missing["wallet"] = max(0, wallet - held[payment.customer_id])
    at = ledger.last_instant(tx, payment.customer_id, now)
    credits = credit_clawback.plan(tx, payment, sale.sold, sale.after, at)
    if credits is not None:
        missing["credits"] = credits.missing
    return Plan(
        is_full=sale.becomes_full,
        credits=credits.taken if credits else 0,
        credits_expired=credits.expired if credits else 0,
        wallet_minor=wallet - missing.get("wallet", 0),
        missing={goods: n for goods, n in missing.items() if n},
        access=_access_of(tx, payment, at) if sale.becomes_full else [],
    )  # fmt: skip


def of_payment(tx: Tx, customer_id: UUID, payment_id: UUID) -> list[dict[str, Any]]:
    """Every row of a payment, oldest first: what each cause took, and whether it was undone."""
    return tx.all(
        "select id, cause, cause_id, goods, asked, taken, owed, forgiven, txn_id, detail,"
        " reversed_at, reversal_txn_id, created_at from clawbacks"
        " where customer_id = %(customer_id)s and payment_id = %(payment_id)s"
        " order by created_at, id limit 500",
        {"customer_id": customer_id, "payment_id": payment_id},
    )


def _sale(
    tx: Tx, payment: ServicePayment, cause_id: UUID | None, amount: int, already: int = 0
) -> _Sale:
    goods = tx.all(
        "select state from fulfillments where customer_id = %(customer_id)s"
        " and payment_id = %(payment_id)s order by purpose",
        {"customer_id": payment.customer_id, "payment_id": payment.key[1]},
    )
    sold = tx.value(
        "select coalesce(sum(amount), 0)::bigint from transfers"
        " where customer_id = %(customer_id)s and subject_id = %(payment_id)s"
        " and asset = %(asset)s and asset <> 'CREDIT' and reason in ('SALE', 'WALLET_DEPOSIT')",
        {
            "customer_id": payment.customer_id, "payment_id": payment.key[1],
            "asset": payment.currency,
        },
    )  # fmt: skip
    gone = _gone(tx, payment.key, cause_id) + already
    captured = payment.captured_cents
    return _Sale(
        sold, of_sale(gone, captured, sold), of_sale(gone + amount, captured, sold),
        any(row["state"] in ("done", "reversed") for row in goods),
    )  # fmt: skip


def _gone(tx: Tx, key: tuple[UUID, UUID], but: UUID | None) -> int:
    """The captured money that other refunds and disputes took of a payment, losses apart."""
    return tx.value(
        "select (coalesce((select sum(r.amount_minor - r.loss_minor) from refunds r"
        "  where r.customer_id = p.customer_id and r.payment_id = p.id and r.currency = p.currency"
        "  and r.state in ('pending', 'succeeded') and r.id is distinct from %(but)s::uuid), 0)"
        " + coalesce((select sum(greatest(d.withdrawn_minor - d.reinstated_minor - d.loss_minor,"
        "   0)) from disputes d where d.customer_id = p.customer_id and d.payment_id = p.id"
        "  and d.currency = p.currency and d.id is distinct from %(but)s::uuid), 0))::bigint"
        " from payments p where p.customer_id = %(customer_id)s and p.id = %(payment_id)s",
        {"customer_id": key[0], "payment_id": key[1], "but": but},
    )


def _refuse_used(tx: Tx, now: datetime, payment: ServicePayment, sale: _Sale) -> None:
    """Under `block` nothing is taken where a part of it is used up. Wallets refuse themselves."""
    at = ledger.last_instant(tx, payment.customer_id, now)
    credits = credit_clawback.plan(tx, payment, sale.sold, sale.after, at)
    if credits is not None and credits.missing:
        raise GoodsUsed(
            f"{credits.missing} of the credits that go with this refund are used already.",
            missing=credits.missing,
        )


def _take_wallet(
    tx: Tx, now: datetime, payment: ServicePayment, sale: _Sale, policy: str, cause: str,
    named: UUID,
) -> Taken:  # fmt: skip
    from paydesk.flows import wallets

    done = wallets.take_back(
        tx, now, payment, sale.after - sale.before, cause=cause, cause_id=named, policy=policy
    )
    return Taken(
        goods="wallet", asked=done.asked, taken=done.taken, owed=done.owed,
        forgiven=done.forgiven, txn_id=done.txn_id, detail={"named": str(named)},
    )  # fmt: skip


def _give(tx: Tx, now: datetime, row: Mapping[str, Any]) -> UUID | None:
    owner, cause_id = row["customer_id"], row["cause_id"]
    key = (owner, row["payment_id"])
    if row["goods"] == "credits":
        return credit_clawback.give(tx, now, key, row["detail"], row["cause"], cause_id)
    if row["goods"] == "wallet":
        from paydesk.flows import wallets

        was = wallets.TakenBack(
            asked=row["asked"], taken=row["taken"], owed=row["owed"], forgiven=row["forgiven"],
            txn_id=row["txn_id"],
        )  # fmt: skip
        named = UUID(row["detail"]["named"])
        payment = JoinedStore(tx.conn).get_many([key])[0]
        assert payment is not None, "a clawback's payment stays"
        return wallets.give_back(tx, now, payment, was, cause=row["cause"], cause_id=named)
    module, _, give = WHOLE_GOODS[row["goods"]]
    step = _step(module, give)
    assert step is not None, "what was taken can be restored"
    step(tx, now, owner, cause_id)
    return None


def _access_of(tx: Tx, payment: ServicePayment, at: datetime) -> list[str]:
    """The resources, `type:id`, to which a payment gives access at this instant."""
    rows = tx.all(
        "select distinct g.resource_type || ':' || g.resource_id as name from access_grants g"
        " where g.customer_id = %(customer_id)s and g.payment_id = %(payment_id)s"
        " and g.expires_at > %(at)s and not exists (select 1 from access_revocations r"
        "  where r.customer_id = g.customer_id and r.grant_id = g.id and r.reinstated_at is null)"
        " order by 1",
        {"customer_id": payment.customer_id, "payment_id": payment.key[1], "at": at},
    )
    return [row["name"] for row in rows]


def _block(tx: Tx, payment: ServicePayment) -> None:
    """Goods that are due are not handed over behind a refund's back: a person looks."""
    tx.run(
        "update fulfillments set state = 'blocked', error_code = %(code)s, try_at = null,"
        " error = 'The money went back before the goods were handed over.'"
        " where customer_id = %(customer_id)s and payment_id = %(payment_id)s and state = 'due'",
        {"customer_id": payment.customer_id, "payment_id": payment.key[1], "code": REFUNDED},
    )


def _set_fulfillment(tx: Tx, key: tuple[UUID, UUID], before: str, after: str) -> None:
    tx.run(
        "update fulfillments set state = %(after)s where customer_id = %(customer_id)s"
        " and payment_id = %(payment_id)s and state = %(before)s",
        {"customer_id": key[0], "payment_id": key[1], "before": before, "after": after},
    )


def _write(
    tx: Tx, now: datetime, payment: ServicePayment, cause: str, cause_id: UUID, found: list[Taken]
) -> None:
    for one in found:
        tx.run(
            "insert into clawbacks (customer_id, id, payment_id, cause, cause_id, goods, asked,"
            " taken, owed, forgiven, txn_id, detail, created_at) values (%(customer_id)s, %(id)s,"
            " %(payment_id)s, %(cause)s, %(cause_id)s, %(goods)s, %(asked)s, %(taken)s, %(owed)s,"
            " %(forgiven)s, %(txn_id)s, %(detail)s, %(now)s)",
            {
                "customer_id": payment.customer_id, "id": ids.new_owned(payment.customer_id),
                "payment_id": payment.key[1], "cause": cause, "cause_id": cause_id,
                "goods": one.goods, "asked": one.asked, "taken": one.taken, "owed": one.owed,
                "forgiven": one.forgiven, "txn_id": one.txn_id, "detail": jsonb(one.detail),
                "now": now,
            },
        )  # fmt: skip


def _rows(tx: Tx, customer_id: UUID, cause_id: UUID) -> list[dict[str, Any]]:
    return tx.all(
        "select customer_id, id, payment_id, cause, cause_id, goods, asked, taken, owed, forgiven,"
        " txn_id, detail, reversed_at from clawbacks where customer_id = %(customer_id)s"
        " and cause_id = %(cause_id)s order by goods desc",
        {"customer_id": customer_id, "cause_id": cause_id},
    )


def _of_row(row: Mapping[str, Any]) -> Taken:
    return Taken(
        goods=row["goods"], asked=row["asked"], taken=row["taken"], owed=row["owed"],
        forgiven=row["forgiven"], txn_id=row["txn_id"], detail=row["detail"],
    )  # fmt: skip


def _payment_of(tx: Tx, customer_id: UUID, cause_id: UUID) -> UUID:
    found = tx.value(
        "select coalesce((select payment_id from refunds where customer_id = %(customer_id)s"
        "  and id = %(id)s), (select payment_id from disputes"
        "  where customer_id = %(customer_id)s and id = %(id)s))",
        {"customer_id": customer_id, "id": cause_id},
    )
    assert found is not None, "a clawback's cause is a refund or a dispute"
    return found


def _step(module: str, name: str) -> Any:
    """A function of another flow, None where this build does not have it."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        return None
