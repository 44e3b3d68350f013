"""Repair of what reconciliation found: the provider's facts, through the doors of webhooks."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import PaydeskError
from paydesk.flows import charges, disputes, heads, reconcile_books, refund_books, refund_facts
from paydesk.flows.attempts import state_event
from paydesk.flows.events import emit_many
from paydesk.flows.reconcile_books import Item, Key
from paydesk.providers.base import Listed
from paydesk.rules.reconciliation import Differs

PATH = "reconciliation"
#: What a payment is flagged with where a person must look.
REVIEW = "reconciliation"
#: Payments in one transaction.
GROUP = 32


def mend(env: Env, run_id: UUID, by: str | None, items: Sequence[Item]) -> int:
    """Lay down what is missing and say on each drift what became of it; answers how many fees
    were recorded beside. Safe to repeat: what is mended already is only marked."""
    fees = [item for item in items if item.is_new_fee and not item.differs]
    _record_many(env, fees)
    broken = {item.ref: item for item in items if item.differs}
    for item in items:
        if item.differs is None:
            continue
        error = _lay(env, item, by) if item.differs.is_fixable else None
        still = _again(env, item)
        if still is None:
            _fixed(env, run_id, by, item)
        else:
            _left(env, run_id, item, still, error)
    _mark_mended(env, run_id, by, [item for item in items if item.ref not in broken])
    return len(fees)


def flag(env: Env, owner: Key) -> None:
    """The payment waits for a person's look."""
    with env.db.transaction(owner[0]) as tx:
        now = heads.decide(tx, env.now(), owner[0])
        refund_books.flag(tx, now, owner, REVIEW)


def _record_many(env: Env, items: Sequence[Item]) -> None:
    """Charges that bring nothing but their fee, many in one transaction. A fee that came without
    its charge is asked for."""
    for item in items:
        if item.kind == "fee" and item.owner is not None:
            with contextlib.suppress(PaydeskError):
                charges.refresh(env, *item.owner, PATH)
    claims = [reconcile_books.claim_of(item.payment, item.value, PATH)
              for item in items if item.payment and item.kind == "payment"]  # fmt: skip
    for start in range(0, len(claims), GROUP):
        group = claims[start : start + GROUP]
        try:
            outcomes = charges.settle_free(env, group)
        except PaydeskError:  # Their clocks differ: each alone.
            outcomes = [None] * len(group)
        for claim, outcome in zip(group, outcomes, strict=True):
            if outcome is None:
                charges.settle(env, [claim])


def _lay(env: Env, item: Item, by: str | None) -> str | None:
    """The provider's facts through their own door; answers why they could not be laid down."""
    payment, owner = item.payment, item.owner
    if payment is None or owner is None:
        return "There is no such payment here."
    try:
        if item.kind == "refund":
            refund_facts.apply_remote(
                env, payment.provider, payment.provider_account, item.value, owner, PATH, actor=by
            )
        elif item.kind == "dispute":
            disputes.apply_remote(
                env, payment.provider, payment.provider_account, item.value, owner, PATH, actor=by
            )
        elif item.kind == "payment" and item.value.status == "succeeded":
            outcome = charges.record(env, payment, item.value, PATH)
            return None if outcome == charges.DONE else f"It is {outcome}."
        else:
            charges.refresh(env, *owner, PATH, ref=item.refs[0])
    except PaydeskError as exc:
        return exc.detail
    return None


def _again(env: Env, item: Item) -> Differs | None:
    """How the two sides differ now."""
    payment = item.payment
    if payment is None:
        return item.differs
    book = next(b for b, kind in reconcile_books.KIND_OF_BOOK.items() if kind == item.kind)
    listed = Listed(
        kind=book, ref=item.ref, value=item.value, created_at=payment.created_at or env.now(),
        payment_ref=payment.provider_payment_id or item.ref,
    )  # fmt: skip
    with env.db.read() as tx:
        return reconcile_books.compare(
            tx, payment.provider, payment.provider_account, [listed]
        )[0].differs


def _fixed(env: Env, run_id: UUID, by: str | None, item: Item) -> None:
    """Mark the drift, and write on the payment's trail who recorded what. Once."""
    payment = item.payment
    assert payment is not None and item.differs is not None
    with env.db.transaction(payment.customer_id) as tx:
        now = heads.decide(tx, env.now(), payment.customer_id)
        _mark(tx, now, run_id, by, item, payment.key)


def _mark(
    tx: Tx, now: datetime, run_id: UUID, by: str | None, item: Any, owner: Key
) -> None:
    row = tx.one(
        "update drifts set state = 'fixed', error = null, fixed_by = %(by)s, fixed_at = %(now)s"
        " where reconciliation_id = %(run)s and kind = %(kind)s and ref = %(ref)s"
        " and state = 'open' returning type",
        {"by": by, "now": now, "run": run_id, "kind": item.kind, "ref": item.ref},
    )
    if row is None:
        return
    payment = refund_books.payment_of(tx, owner)
    event = state_event(
        payment, now, type="payment.reconciled", drift=row["type"], kind=item.kind, ref=item.ref,
        reconciliation=ids.show("reconciliation", run_id), path=PATH, by=by,
    )  # fmt: skip
    emit_many(tx, [event])


def _left(env: Env, run_id: UUID, item: Item, still: Differs, error: str | None) -> None:
    """Nothing that we may do mends it: a person looks."""
    with env.db.transaction() as tx:
        tx.run(
            "update drifts set state = 'manual', error = %(error)s"
            " where reconciliation_id = %(run)s and kind = %(kind)s and ref = %(ref)s"
            " and state in ('open', 'manual')",
            {"error": (error or f"It differs: {still.type}.")[:500], "run": run_id,
             "kind": item.kind, "ref": item.ref},
        )  # fmt: skip
    if item.payment is not None:
        flag(env, item.payment.key)


def _mark_mended(env: Env, run_id: UUID, by: str | None, items: Sequence[Item]) -> None:
    """Drifts of this page that somebody mended and died before he could say so."""
    with env.db.read() as tx:
        rows = tx.all(
            "select kind, ref from drifts where reconciliation_id = %(run)s and state = 'open'"
            " and ref = any(%(refs)s)",
            {"run": run_id, "refs": [item.ref for item in items]},
        )
    known = {(row["kind"], row["ref"]) for row in rows}
    for item in items:
        if (item.kind, item.ref) in known and item.payment is not None:
            with env.db.transaction(item.payment.customer_id) as tx:
                now = heads.decide(tx, env.now(), item.payment.customer_id)
                _mark(tx, now, run_id, by, item, item.payment.key)
