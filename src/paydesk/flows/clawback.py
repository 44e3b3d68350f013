"""Clawback: what a payment bought is taken back with its money, and given back when that returns.

One row of `clawbacks` for each kind of goods and cause says what was asked, taken, owed and
forgiven; giving back undoes exactly that. Everything here is a step inside the caller's
transaction, which holds the customer's head.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.errors import GoodsUsed
from paydesk.flows import causes, credit_clawback, ledger, sales
from paydesk.flows.causes import Cause
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
    """What a payment sold, in minor units, and whether any of it was handed over."""

    sold: int
    captured: int
    is_handed: bool

    def of(self, gone: int) -> int:
        """How much of the sale went back when `gone` of the captured money did."""
        return of_sale(gone, self.captured, self.sold)

    def is_full(self, gone: int) -> bool:
        return self.is_handed and 0 < self.of(gone) >= self.sold


@dataclass(frozen=True, slots=True)
class _Step:
    """One taking: for this cause, until the goods of `gone` captured money are taken in all."""

    cause: Cause
    gone: int
    policy: str


def settle(
    tx: Tx, now: datetime, payment: ServicePayment, found: Sequence[Cause], settings: Settings, *,
    gained: Mapping[UUID, int], asked: UUID | None = None,
) -> None:  # fmt: skip
    """Take and give back goods until those are with us that go with the captured money which
    refunds and disputes took: the same in whatever order they were heard.

    `found`: every cause, the oldest first, as they are to stand; `gained`: how much of its goods
    is new, by cause. What was taken for a cause that is none any more is given back. Money that
    is gone is a fact, for which the policy `block` becomes `debt`; only the refund `asked` for
    raises GoodsUsed, with nothing done. Goods that were not handed over yet are blocked.
    """
    sale, total = _sale(tx, payment), sum(one.goods for one in found)
    if not sale.is_handed:
        _block(tx, payment) if total else _unblock(tx, now, payment)
        return
    undone = _undo_surplus(tx, now, payment, sale, found)
    if not total:
        _unblock(tx, now, payment)
        return
    again = [one for one in found if one.id in undone]
    more = [one for one in found if gained.get(one.id) and one.id not in undone]
    gone = total - sum(one.goods for one in again) - sum(gained[one.id] for one in more)
    fact = "debt" if settings.clawback_policy == "block" else settings.clawback_policy
    for one in [*again, *more]:
        gone += one.goods if one.id in undone else gained[one.id]
        policy = settings.clawback_policy if one.id == asked else fact
        _take(tx, now, payment, sale, _Step(one, gone, policy), settings)
    # What one cause gave back may be another's by now, though that took no more money.
    last = [one for one in found if one.goods][-1]
    _take(tx, now, payment, sale, _Step(last, total, fact), settings)


def _undo_surplus(
    tx: Tx, now: datetime, payment: ServicePayment, sale: _Sale, found: Sequence[Cause]
) -> set[UUID]:
    """Give back what causes took that are none any more, then, the latest first, what is more
    than all causes together are to have taken. Answers of which causes."""
    live = {one.id for one in found if one.goods}
    total = sum(one.goods for one in found)
    rows = [row for row in _rows(tx, payment) if row["reversed_at"] is None]
    for row in rows:
        if row["cause_id"] not in live:
            _undo(tx, now, row)
    undone: set[UUID] = set()
    for row in rows:
        if row["cause_id"] in live and _is_too_much(tx, now, payment, sale, total, row["goods"]):
            _undo(tx, now, row)
            undone.add(row["cause_id"])
    was_whole = any(row["goods"] in WHOLE_GOODS and row["cause_id"] not in live for row in rows)
    if was_whole or not sale.is_full(total):
        _set_fulfillment(tx, payment.key, "reversed", "done")
    if not sale.is_full(total):  # What all payments of an invoice opened is not all paid back.
        for other in _others(tx, payment):
            for row in _rows(tx, other):
                if row["goods"] in WHOLE_GOODS and row["reversed_at"] is None:
                    _undo(tx, now, row)
    return undone


def _is_too_much(
    tx: Tx, now: datetime, payment: ServicePayment, sale: _Sale, total: int, goods: str
) -> bool:
    if goods == "credits":
        at = ledger.last_instant(tx, payment.customer_id, now)
        return credit_clawback.is_too_much(tx, payment, sale.sold, sale.of(total), at)
    if goods == "wallet":
        return _wallet_taken(tx, payment) > sale.of(total)
    return not sale.is_full(total)


def _undo(tx: Tx, now: datetime, row: Mapping[str, Any]) -> None:
    """Undo what one row took: the very draws, revocations and postings. Once."""
    made = _give(tx, now, row)
    tx.run(
        "update clawbacks set reversed_at = %(now)s, reversal_txn_id = %(txn_id)s"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": row["customer_id"], "id": row["id"], "now": now, "txn_id": made},
    )


def _take(
    tx: Tx, now: datetime, payment: ServicePayment, sale: _Sale, step: _Step, settings: Settings
) -> None:
    """Take what is missing of the goods that go with `step.gone` of captured money."""
    cause, policy, found = step.cause, step.policy, list[Taken]()
    refunded = sale.of(step.gone)
    if policy == "block":
        _refuse_used(tx, now, payment, sale.sold, refunded)
    if payment.purpose == "wallet" and (wanted := refunded - _wallet_taken(tx, payment)) > 0:
        found.append(_take_wallet(tx, now, payment, wanted, policy, cause))
    done = credit_clawback.take(
        tx, now, payment, sale.sold, refunded, policy, cause.kind, cause.id, settings
    )
    if done is not None:
        found.append(Taken(
            goods="credits", asked=done.asked, taken=done.taken, owed=done.owed,
            forgiven=done.forgiven, txn_id=done.txn_id, detail=done.detail,
        ))  # fmt: skip
    if sale.is_full(step.gone) and _set_fulfillment(tx, payment.key, "done", "reversed"):
        others = _others(tx, payment)
        sold = [payment, *others] if _are_gone(tx, others) else []
        for goods, (module, take, _) in WHOLE_GOODS.items():
            if act := _step(module, take):
                gone = [str(one) for each in sold
                        for one in act(tx, now, each, cause.kind, cause.id) or ()]  # fmt: skip
                if gone:
                    found.append(Taken(
                        goods=goods, asked=len(gone), taken=len(gone), detail={"ids": gone}
                    ))  # fmt: skip
    _write(tx, now, payment, cause.kind, cause.id, found)


def plan(tx: Tx, payment: ServicePayment, amount_minor: int, *, now: datetime) -> Plan:
    """What taking back would do now. Reads only; `take_back` right after does the same."""
    sale = _sale(tx, payment)
    if not sale.is_handed:
        return Plan(is_full=False)
    before = sum(one.goods for one in causes.of_payment(tx, payment))
    after = sale.of(before + amount_minor)
    others = _others(tx, payment)
    is_full = (sale.is_full(before + amount_minor) and not sale.is_full(before)
               and _are_gone(tx, others))  # fmt: skip
    missing: dict[str, int] = {}
    wallet = max(0, after - _wallet_taken(tx, payment)) if payment.purpose == "wallet" else 0
    if wallet:
        held = ledger.balances(tx, [payment.customer_id], "wallet", payment.currency)
        missing["wallet"] = max(0, wallet - held[payment.customer_id])
    at = ledger.last_instant(tx, payment.customer_id, now)
    credits = credit_clawback.plan(tx, payment, sale.sold, after, at)
    if credits is not None:
        missing["credits"] = credits.missing
    return Plan(
        is_full=is_full,
        credits=credits.taken if credits else 0,
        credits_expired=credits.expired if credits else 0,
        wallet_minor=wallet - missing.get("wallet", 0),
        missing={goods: n for goods, n in missing.items() if n},
        access=_access_of(tx, [payment, *others], at) if is_full else [],
    )  # fmt: skip


def sale_gone(tx: Tx, payment: ServicePayment, more: int) -> tuple[int, int]:
    """How much of a payment's sale went back by now, and will have with so much more money."""
    sale = _sale(tx, payment)
    before = sum(one.goods for one in causes.of_payment(tx, payment))
    return sale.of(before), sale.of(before + more)


def of_payment(tx: Tx, customer_id: UUID, payment_id: UUID) -> list[dict[str, Any]]:
    """Every row of a payment, oldest first: what each cause took, and whether it was undone."""
    return tx.all(
        "select id, cause, cause_id, goods, asked, taken, owed, forgiven, txn_id, detail,"
        " reversed_at, reversal_txn_id, created_at from clawbacks"
        " where customer_id = %(customer_id)s and payment_id = %(payment_id)s"
        " order by created_at, id limit 500",
        {"customer_id": customer_id, "payment_id": payment_id},
    )


def _sale(tx: Tx, payment: ServicePayment) -> _Sale:
    goods = tx.all(
        "select state from fulfillments where customer_id = %(customer_id)s"
        " and payment_id = %(payment_id)s order by purpose",
        {"customer_id": payment.customer_id, "payment_id": payment.key[1]},
    )
    is_handed = any(row["state"] in ("done", "reversed") for row in goods)
    return _Sale(sales.sold(tx, payment), payment.captured_cents, is_handed)


def _others(tx: Tx, payment: ServicePayment) -> list[ServicePayment]:
    """The other payments that sold the same goods with it."""
    keys = [(payment.customer_id, one) for one in sales.together(tx, payment)
            if one != payment.key[1]]  # fmt: skip
    found = JoinedStore(tx.conn).get_many(keys) if keys else []
    return [one for one in found if one is not None]


def _are_gone(tx: Tx, others: Sequence[ServicePayment]) -> bool:
    """Whether all that these payments sold went back."""
    return not others or not tx.value(
        "select exists (select from fulfillments where customer_id = %(customer_id)s"
        " and payment_id = any(%(payments)s) and state <> 'reversed')",
        {"customer_id": others[0].customer_id, "payments": [one.key[1] for one in others]},
    )


def _refuse_used(
    tx: Tx, now: datetime, payment: ServicePayment, sold: int, refunded: int
) -> None:
    """Under `block` nothing is taken where a part of it is used up. Wallets refuse themselves."""
    at = ledger.last_instant(tx, payment.customer_id, now)
    credits = credit_clawback.plan(tx, payment, sold, refunded, at)
    if credits is not None and credits.missing:
        raise GoodsUsed(
            f"{credits.missing} of the credits that go with this refund are used already.",
            missing=credits.missing,
        )


def _wallet_taken(tx: Tx, payment: ServicePayment) -> int:
    """What of a top-up is taken back by now, owed and forgiven money with it."""
    return sum(
        row["asked"] for row in _rows(tx, payment)
        if row["goods"] == "wallet" and row["reversed_at"] is None
    )  # fmt: skip


def _take_wallet(
    tx: Tx, now: datetime, payment: ServicePayment, amount: int, policy: str, cause: Cause
) -> Taken:
    from paydesk.flows import wallets

    times = sum(
        row["cause_id"] == cause.id and row["goods"] == "wallet" for row in _rows(tx, payment)
    )
    named = ids.request_key("clawback", str(cause.id), str(times))
    done = wallets.take_back(
        tx, now, payment, amount, cause=cause.kind, cause_id=named, policy=policy
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


def _access_of(tx: Tx, sold: Sequence[ServicePayment], at: datetime) -> list[str]:
    """The resources, `type:id`, to which payments of one customer give access at this instant."""
    rows = tx.all(
        "select distinct g.resource_type || ':' || g.resource_id as name from access_grants g"
        " where g.customer_id = %(customer_id)s and g.payment_id = any(%(payments)s)"
        " and g.expires_at > %(at)s and not exists (select 1 from access_revocations r"
        "  where r.customer_id = g.customer_id and r.grant_id = g.id and r.reinstated_at is null)"
        " order by 1",
        {"customer_id": sold[0].customer_id, "payments": [one.key[1] for one in sold], "at": at},
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


def _unblock(tx: Tx, now: datetime, payment: ServicePayment) -> None:
    """All money is here again: goods that waited for a person because of it are due."""
    tx.run(
        "update fulfillments set state = 'due', error_code = null, error = null,"
        " try_at = %(now)s where customer_id = %(customer_id)s and payment_id = %(payment_id)s"
        " and state = 'blocked' and error_code = %(code)s",
        {"customer_id": payment.customer_id, "payment_id": payment.key[1], "now": now,
         "code": REFUNDED},
    )  # fmt: skip


def _set_fulfillment(tx: Tx, key: tuple[UUID, UUID], before: str, after: str) -> int:
    return tx.run(
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


def _rows(tx: Tx, payment: ServicePayment) -> list[dict[str, Any]]:
    """What a payment's causes took, undone or not, the latest first; of one taking, what others
    stand on is the first to be given back."""
    return tx.all(
        "select customer_id, id, payment_id, cause, cause_id, goods, asked, taken, owed, forgiven,"
        " txn_id, detail, reversed_at from clawbacks where customer_id = %(customer_id)s"
        " and payment_id = %(payment_id)s order by created_at desc, cause_id desc, goods desc",
        {"customer_id": payment.customer_id, "payment_id": payment.key[1]},
    )


def _step(module: str, name: str) -> Any:
    """A function of another flow, None where this build does not have it."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        return None
