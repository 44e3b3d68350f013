"""Credits of memberships: each month's allocation, with what is left of the one before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.flows import credit_clawback, credits, ledger
from paydesk.flows import subscription_steps as steps
from paydesk.flows.credit_clawback import CHANGE, TAKEN
from paydesk.flows.credit_grants import Moves, settle
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.ledger import Entry
from paydesk.flows.subscription_steps import Sub
from paydesk.rules.ledger import CREDIT
from paydesk.rules.plans import Terms
from paydesk.settings import Settings

REASON = "MEMBERSHIP_PAYMENT"
#: What marks a taking for money that went to the balance when a subscription was given up.
UNUSED = "unused"


def give(
    tx: Tx, now: datetime, sub: Sub, told: Terms, number: int, payment_id: UUID | None,
    settings: Settings,
) -> int:  # fmt: skip
    """The running period's `number`-th allocation, once; answers how many credits it was.

    Credits that do not roll over end with their month. The head is locked.
    """
    wanted = told.credits * sub.quantity
    if not wanted:
        return 0
    key = ids.request_key("allocation", str(sub.id), str(sub.period), str(number))
    return grant(tx, now, sub, told, wanted, number, payment_id, key, settings)


def grant(
    tx: Tx, now: datetime, sub: Sub, told: Terms, amount: int, number: int,
    payment_id: UUID | None, key: UUID, settings: Settings,
) -> int:  # fmt: skip
    """Give an amount by the plan's roll-over rule: nothing of what would have ended by now."""
    _, until = steps.allotment(sub, told, number)
    if told.credits_rollover == "capped":
        left = credits_left(tx, sub)
        amount = min(amount, max(0, (told.credits_cap or 0) * sub.quantity - left))
    expires_at = until if told.credits_rollover == "none" else None
    if amount <= 0 or (expires_at is not None and expires_at <= now):
        return 0
    made = credits.grant(
        tx,
        [
            credits.Grant(
                customer_id=sub.customer_id, amount=amount, kind="membership", reason=REASON,
                expires_at=expires_at, payment_id=payment_id, source_id=sub.id, request_key=key,
            )
        ],
        now, settings=settings,
    )  # fmt: skip
    return made[0].amount


def credits_left(tx: Tx, sub: Sub) -> int:
    """Unspent credits of this subscription's allocations."""
    return tx.value(
        "select coalesce(sum(remaining), 0)::bigint from batches"
        " where customer_id = %(customer_id)s and source_id = %(id)s and open",
        {"customer_id": sub.customer_id, "id": sub.id},
    )


def left_of_payment(tx: Tx, sub: Sub, payment_id: UUID) -> int:
    """Those of them that this payment paid for."""
    return tx.value(
        "select coalesce(sum(remaining), 0)::bigint from batches"
        " where customer_id = %(customer_id)s and source_id = %(id)s and open"
        " and payment_id = %(payment_id)s",
        {"customer_id": sub.customer_id, "id": sub.id, "payment_id": payment_id},
    )


def given_in(tx: Tx, sub: Sub, since: datetime) -> tuple[int, int]:
    """(given, unspent) credits of what was allocated since an instant."""
    row = tx.one(
        "select coalesce(sum(granted), 0)::bigint as given,"
        " coalesce(sum(remaining) filter (where open), 0)::bigint as left"
        " from batches where customer_id = %(customer_id)s and source_id = %(id)s"
        " and granted_at >= %(since)s",
        {"customer_id": sub.customer_id, "id": sub.id, "since": since},
    )
    assert row is not None
    return row["given"], row["left"]


def take_back(
    tx: Tx, now: datetime, sub: Sub, amount: int, payment_id: UUID | None, settings: Settings,
    note: str = CHANGE,
) -> dict[str, Any] | None:  # fmt: skip
    """Take unspent credits of this subscription back for a change, the newest first; answers what
    `put_back` needs, None where nothing was taken. `note`: UNUSED of one that is given up."""
    owner = sub.customer_id
    settle(tx, [owner], now)
    at = ledger.last_instant(tx, owner, now)
    rows = tx.all(
        "select id, remaining from batches where customer_id = %(customer_id)s"
        " and source_id = %(id)s and open order by granted_at desc, id desc limit 1000",
        {"customer_id": owner, "id": sub.id},
    )
    amount = min(amount, sum(row["remaining"] for row in rows))
    if amount <= 0:
        return None
    moves, txn_id, left = Moves(now), ids.new_owned(owner), amount
    moves.entries.append(Entry(
        id=txn_id, customer_id=owner, debit="credits", credit="issued", asset=CREDIT,
        amount=amount, reason=TAKEN, txn_id=txn_id, subject_id=payment_id or sub.id,
        note=note, effective_at=at,
    ))  # fmt: skip
    parts: list[dict[str, Any]] = []
    for row in rows:
        if part := min(left, row["remaining"]):
            moves.draws.append((owner, txn_id, row["id"], part))
            parts.append({"batch": str(row["id"]), "taken": part, "owed": 0,
                          "owed_transfer": None, "draws": [[str(row["id"]), part]]})  # fmt: skip
            left -= part
    moves.write(tx)
    if payment_id is not None:
        data = {
            "amount": amount, "owed": 0, "forgiven": 0, "expired": 0,
            "balance": ledger.balances(tx, [owner], "credits")[owner],
            "transfer_id": str(txn_id), "cause": "change",
            "cause_id": ids.show("subscription", sub.id),
        }  # fmt: skip
        emit_many(tx, [NewEvent(customer_id=owner, type="credits.clawed_back",
                                subject_id=payment_id, data=data, at=now)])  # fmt: skip
    return {
        "batches": parts, "grace_days": settings.refund_grace_days,
        "order": settings.credit_order, "note": note,
        "payment": str(payment_id) if payment_id else None,
    }  # fmt: skip


def put_back(tx: Tx, now: datetime, sub: Sub, taken: Mapping[str, Any]) -> None:
    """A change came to nothing: what was taken for it is in its very batches again."""
    of = taken["payment"]
    credit_clawback.give(
        tx, now, (sub.customer_id, UUID(of) if of else sub.id), taken, "subscription", sub.id,
        is_told=of is not None,
    )


def stand_still(tx: Tx, now: datetime, sub: Sub) -> None:
    """In a pause credits that end do not end while it lasts: those there are when it begins, and
    what is paid for meanwhile. The caller saves `sub`."""
    settle(tx, [sub.customer_id], now)
    rows = tx.all(
        "select id, expires_at from batches where customer_id = %(customer_id)s"
        " and source_id = %(id)s and open and expires_at < 'infinity' order by id",
        {"customer_id": sub.customer_id, "id": sub.id},
    )
    left = {str(row["id"]): (row["expires_at"] - now).total_seconds() for row in rows}
    if left:
        ledger.end_batches(tx, sub.customer_id, dict.fromkeys(left, "infinity"))
        kept = sub.told.get("credits_stand") or {}
        sub.told = {**sub.told, "credits_stand": {**kept, **left}}


def run_on(tx: Tx, now: datetime, sub: Sub) -> None:
    """The pause is over: credits end when so much time has passed as was left of theirs. Once;
    the caller saves `sub`."""
    left = sub.told.get("credits_stand")
    if left:
        sub.told = {name: value for name, value in sub.told.items() if name != "credits_stand"}
        ends = {key: (now + timedelta(seconds=rest)).isoformat() for key, rest in left.items()}
        ledger.end_batches(tx, sub.customer_id, ends)


def give_bonus(
    tx: Tx, now: datetime, sub: Sub, payment_id: UUID | None, settings: Settings
) -> None:
    """The bonus of a promo code, once, with the first payment."""
    bonus = (sub.discount or {}).get("bonus")
    if bonus:
        credits.grant(
            tx,
            [
                credits.Grant(
                    customer_id=sub.customer_id, amount=bonus, kind="promotional",
                    expires_at=now + timedelta(days=settings.credit_expiry_days),
                    payment_id=payment_id, reason="CREDIT_GRANT",
                    request_key=ids.request_key("bonus", str(sub.id)),
                )
            ],
            now, settings=settings,
        )  # fmt: skip
