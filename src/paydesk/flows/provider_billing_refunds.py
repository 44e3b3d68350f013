"""What is unused of a period that a provider billed goes back to the payer with its cancellation:
kept with the call that cancels, begun in the transaction that settles it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import IdempotencyInProgress, PaydeskError
from paydesk.flows import (
    heads,
    invoice_books,
    memberships,
    payments,
    refund_views,
    refunds,
    sales,
    subscription_refunds,
)
from paydesk.flows import subscription_steps as steps
from paydesk.flows.refunds import WantRefund
from paydesk.flows.subscription_charges import charged, old_side
from paydesk.flows.subscription_steps import Sub
from paydesk.rules import proration
from paydesk.rules import subscriptions as rules
from paydesk.rules.invoices import half_up
from paydesk.rules.money import Money
from paydesk.rules.promo import charge_step
from paydesk.tracker.stores.joined import JoinedStore


def unused(
    env: Env, tx: Tx, sub: Sub, by: str, persons: Sequence[str] | None
) -> dict[str, Any] | None:
    """What is to go back, as the call keeps it; None where nothing is. Of one that is over, as of
    its end: a repeat comes to the same. With the taxes on top of it, and as far as its payments
    go: what was paid outside of the provider never came here."""
    whose = {"by": by, "persons": list(persons) if persons else None}
    if sub.state in rules.ENDED and (kept := _kept(tx, sub)):
        return _left_of(env, tx, sub, {**kept, **whose})
    paid_for = charged(tx, sub)
    if paid_for is None or sub.state == "trialing":
        return None
    told = steps.terms(tx, sub)
    policy = told.downgrade if told.downgrade in ("seconds", "days") else "seconds"
    at = sub.ended_at or heads.now(env, sub.customer_id, tx)
    side = old_side(tx, sub, told, paid_for)
    left = proration.unused(side, at, policy=policy, zone=sub.zone)
    rest = left.amount_minor
    if rest <= 0:
        return None
    paid = [payments.get(env, sub.customer_id, one)
            for one in _payments(tx, sub.customer_id, paid_for.invoice_id)]  # fmt: skip
    total, lines = _sums(tx, sub.customer_id, paid_for.invoice_id)
    came = [one.captured.minor for one in paid]
    whole = half_up(Fraction(rest * total, lines)) if lines > 0 else rest
    here = half_up(Fraction(whole * sum(came), max(total, sum(came), 1)))
    step = charge_step(sub.currency)  # A last digit that cards do not carry stays where it is.
    room = [one.refundable.minor // step for one in paid]
    shares = [step * one for one in _split(here // step, came, room)]
    credits = _split(left.credits_back, shares, [left.credits_back] * len(paid))
    parts = [{"payment": str(one.id), "minor": minor, "credits": most}
             for one, minor, most in zip(paid, shares, credits, strict=True) if minor]
    if not parts:
        return None
    return {**parts[0], "more": parts[1:], "currency": sub.currency, **whose}


def _kept(tx: Tx, sub: Sub) -> dict[str, Any] | None:
    """What was to go back when it was canceled. What went back since changes nothing of that."""
    return tx.value(
        "select request -> 'back' from provider_calls where customer_id = %(customer_id)s"
        " and subject_id = %(id)s and action = 'billing' and state = 'done'"
        " and request ->> 'op' = 'cancel' and request ? 'back'"
        " order by created_at desc, id desc limit 1",
        {"customer_id": sub.customer_id, "id": sub.id},
    )


def _left_of(
    env: Env, tx: Tx, sub: Sub, kept: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The parts of it that were begun, and of the others what their payments still have."""
    found = []
    for part, want in zip((kept, *kept.get("more", ())), _wants(tx, *sub.key, kept), strict=True):
        most = want.amount.minor
        if refund_views.of_request(tx, want.customer_id, want.request_key) is None:
            paid = payments.get(env, sub.customer_id, want.payment_id)
            most = min(most, paid.refundable.minor)
        if most > 0:
            found.append({**part, "minor": most})
    shared = {name: kept[name] for name in ("currency", "by", "persons")}
    return {**found[0], "more": found[1:], **shared} if found else None


def _sums(tx: Tx, customer_id: UUID, invoice_id: UUID) -> tuple[int, int]:
    """An invoice's total, and what its lines come to before that which is of all of them: taxes on
    top, and what is taken off the whole. A line has the same part of either."""
    row = tx.one(
        "select v.total_minor, coalesce((select sum(i.amount_minor) from invoice_items i"
        "  where i.customer_id = %(customer_id)s and i.invoice_id = v.id"
        "  and i.kind not in ('tax', 'adjustment')"
        "  and (i.kind <> 'discount' or i.of_item is not null)), 0)::bigint as lines"
        " from invoices v where v.customer_id = %(customer_id)s and v.id = %(id)s",
        {"customer_id": customer_id, "id": invoice_id},
    )
    assert row is not None, "invoices stay"
    return row["total_minor"], row["lines"]


def _split(whole: int, came: Sequence[int], room: Sequence[int]) -> list[int]:
    """A sum over payments, by what each brought; what one has no room for others give back."""
    found, sum_, before = [], 0, 0
    for one, most in zip(came, room, strict=True):
        sum_ += one
        until = half_up(Fraction(whole * sum_, sum(came) or 1))
        found.append(min(until - before, most))
        before = until
    for at, most in enumerate(room):
        found[at] += min(whole - sum(found), most - found[at])
    return found


def _payments(tx: Tx, customer_id: UUID, invoice_id: UUID) -> list[UUID]:
    """Those that brought money for an invoice, the first first."""
    rows = tx.all(
        "select id from payments where customer_id = %(customer_id)s and purpose = %(purpose)s"
        " and terms -> 'goods' ->> 'invoice' = %(invoice)s and captured_minor > 0"
        " order by created_at, id",
        {"customer_id": customer_id, "invoice": str(invoice_id),
         "purpose": invoice_books.PURPOSE},
    )  # fmt: skip
    return [row["id"] for row in rows]


def begin(env: Env, tx: Tx, now: datetime, sub: Sub, back: Mapping[str, Any]) -> None:
    """Begin it, once, in the transaction that settles the cancellation; `finish` sends it. One
    that is refused is left to `finish`, which says so: the cancellation stands."""
    if sub.state not in rules.ENDED:
        return
    for want in _mark(tx, now, sub, back):
        _begin_one(env, tx, now, want)


def _mark(
    tx: Tx, now: datetime, sub: Sub, back: Mapping[str, Any]
) -> list[WantRefund]:
    """Note how many credits go back with each payment: those that are unspent, and none of months
    that are over. Answers the refunds."""
    parts = (back, *back.get("more", ()))
    wants = _wants(tx, sub.customer_id, sub.id, back)
    first = JoinedStore(tx.conn).get_many([(sub.customer_id, wants[0].payment_id)])[0]
    assert first is not None, "an invoice's payment stays"
    spare = sum(memberships.left_of_payment(tx, sub, one) for one in sales.together(tx, first))
    for part, want in zip(parts, wants, strict=True):
        if "credits" not in part:  # Kept by a call of before.
            continue
        credits = min(part["credits"], spare)
        spare -= credits
        if refund_views.of_request(tx, want.customer_id, want.request_key) is None:
            subscription_refunds.mark(tx, now, sub, want.payment_id, part["minor"], credits)
    return wants


def _begin_one(env: Env, tx: Tx, now: datetime, want: WantRefund) -> None:
    if refund_views.of_request(tx, want.customer_id, want.request_key) is None:
        with contextlib.suppress(PaydeskError), tx.savepoint():
            _, call = refunds.ask_in(env, tx, now, want)
            if call is not None:  # Whoever comes first sends it.
                tx.run(
                    "update provider_calls set try_at = %(now)s"
                    " where customer_id = %(customer_id)s and id = %(id)s",
                    {"customer_id": call.customer_id, "id": call.id,
                     "now": heads.real(tx, now, call.customer_id)},
                )  # fmt: skip


def finish(env: Env, customer_id: UUID, sub_id: UUID, back: Mapping[str, Any]) -> None:
    """Send it, or begin it where nobody did. Raises what a refund raises."""
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        is_over = sub.state in rules.ENDED
        wants = _mark(tx, now, sub, back) if is_over else _wants(tx, *sub.key, back)
    for want in wants:
        with contextlib.suppress(IdempotencyInProgress):  # A sweep is sending it.
            refunds.request(env, want)


def _wants(
    tx: Tx, customer_id: UUID, sub_id: UUID, back: Mapping[str, Any]
) -> list[WantRefund]:
    """A refund of each payment, under a key of its own."""
    found = []
    # The first one's key named no payment before; it is that of what was begun with it.
    before = ids.request_key("subscription", str(sub_id), "unused")
    old = refund_views.of_request(tx, customer_id, before)
    for part in (back, *back.get("more", ())):
        payment_id = UUID(part["payment"])
        is_old = old is not None and old.payment_id == payment_id
        key = before if is_old else ids.request_key(
            "subscription", str(sub_id), "unused", part["payment"])  # fmt: skip
        found.append(WantRefund(
            customer_id=customer_id, payment_id=payment_id, by=back["by"],
            persons=back["persons"], amount=Money(part["minor"], back["currency"], minor=True),
            reason="requested_by_customer", force=True, request_key=key, request_hash=key.bytes,
        ))  # fmt: skip
    return found
