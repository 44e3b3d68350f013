"""What was paid for the rest of a period that is given up, with its taxes, as credit notes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.flows import clawback, credit_clawback, credit_notes, ledger, memberships
from paydesk.flows import subscription_charges as charges
from paydesk.flows import subscription_steps as steps
from paydesk.flows.credit_notes import Begun, NewNote
from paydesk.flows.subscription_charges import Charged
from paydesk.flows.subscription_steps import Sub
from paydesk.rules import invoices as rules
from paydesk.rules import proration
from paydesk.rules.money import Money
from paydesk.rules.promo import charge_step
from paydesk.tracker.stores.joined import JoinedStore

#: What the running time was paid with, the newest first.
_INVOICES = """
    select v.id, v.payment_id from bought b
    join invoices v on v.customer_id = %(customer_id)s and v.id = b.id
    where v.state = 'paid' and v.total_minor > 0
    order by v.finalized_at desc, v.id desc limit 100
"""


def begin(
    env: Env, tx: Tx, now: datetime, sub: Sub, by: str, persons: Sequence[str] | None = None
) -> list[Begun]:
    """Note what is unused of the running period, and begin its refunds, in the transaction that
    ends the subscription. `finish` carries them out once that is committed.

    What the customer's balance had paid goes back there, and its part of the credits is taken
    back with it; refunds take back theirs themselves: of all payments together those that are
    unused, and none of months that are over. Raises what a refund raises.
    """
    paid_for = charges.charged(tx, sub)
    if paid_for is None or sub.state == "trialing":
        return []
    whole, credits = _unused(tx, now, sub, paid_for)
    left, found, on_balance, still = whole, list[Begun](), 0, credits
    values = {"customer_id": sub.customer_id, "id": sub.id, "cycle": sub.period}
    for row in tx.all(charges.BOUGHT + _INVOICES, values):
        part = min(left, credit_notes.left_of(tx, sub.customer_id, row["id"]))
        if part <= 0:
            continue
        left -= part
        still -= _mark(tx, now, sub, row["payment_id"], part, still)
        found.append(credit_notes.begin(env, tx, now, NewNote(
            customer_id=sub.customer_id, invoice_id=row["id"], by=by, force=True,
            persons=persons, amount=Money(part, sub.currency, minor=True),
            reason="requested_by_customer",
            request_key=ids.request_key("subscription", str(sub.id), "unused", str(row["id"])),
        )))  # fmt: skip
        on_balance += credit_notes.given_to_balance(tx, sub.customer_id, found[-1].note_id)
    # As many as the balance bought, rounded up, as all that is unused is; and those that no payment
    # of them bought, where a change was paid with what the plan before it had left.
    on_balance -= on_balance % charge_step(sub.currency)  # A last digit alone bought none.
    itself = max(still, -(-credits * on_balance // whole)) if found else 0
    if itself > 0:
        memberships.take_back(tx, now, sub, itself, paid_for.payment_id, env.settings,
                              memberships.UNUSED)  # fmt: skip
    return found


def _mark(
    tx: Tx, now: datetime, sub: Sub, payment_id: UUID | None, part: int, credits: int
) -> int:
    """Note how many of its unspent credits go back with a part of a payment; answers how many."""
    if payment_id is None:
        return 0
    taken = min(credits, memberships.left_of_payment(tx, sub, payment_id))
    mark(tx, now, sub, payment_id, part, taken)
    return taken


def mark(
    tx: Tx, now: datetime, sub: Sub, payment_id: UUID, part: int, credits: int
) -> None:  # fmt: skip
    """Note that so many credits go back with a part of a payment that is unused, and no more, as
    long as nothing else of it goes back. Saves the subscription."""
    payment = JoinedStore(tx.conn).get_many([(sub.customer_id, payment_id)])[0]
    assert payment is not None, "an invoice's payment stays"
    since, until = clawback.sale_gone(tx, payment, part)
    if until <= since:
        return
    at = ledger.last_instant(tx, sub.customer_id, now)
    gone = credit_clawback.asked_of(tx, payment, at)
    sub.told = {**sub.told, "unused": {
        **(sub.told.get("unused") or {}), str(payment_id): [since, until - since, gone, credits],
    }}  # fmt: skip
    steps.save(tx, now, sub)


def finish(env: Env, begun: Sequence[Begun]) -> None:
    """Send the refunds. What is not sent now the sweeps send. Raises what a refund raises."""
    for one in begun:
        credit_notes.carry_on(env, one)


def _unused(tx: Tx, now: datetime, sub: Sub, paid_for: Charged) -> tuple[int, int]:
    """What is left of the charge that pays for the running time, with the taxes on top of it, and
    the credits that are left with it."""
    told = steps.terms(tx, sub)
    policy = told.downgrade if told.downgrade in ("seconds", "days") else "seconds"
    # In a pause its time stands still.
    at = sub.paused_at or now
    rest = proration.unused(
        charges.old_side(tx, sub, told, paid_for), at, policy=policy, zone=sub.zone
    )
    if rest.amount_minor <= 0:
        return 0, 0
    tax = _tax_of(tx, sub.customer_id, paid_for)
    taxed = rules.half_up(Fraction(tax * rest.amount_minor, paid_for.paid_minor))
    return rest.amount_minor + taxed, rest.credits_back


def _tax_of(tx: Tx, customer_id: UUID, paid_for: Charged) -> int:
    """The taxes on top of a charge; what its price includes is in it."""
    rows = tx.all(
        "select t.why, i.position from invoice_items t join invoice_items i"
        " on i.customer_id = t.customer_id and i.invoice_id = t.invoice_id and i.id = %(item)s"
        " where t.customer_id = %(customer_id)s and t.invoice_id = %(invoice)s"
        " and t.kind = 'tax'",
        {"customer_id": customer_id, "invoice": paid_for.invoice_id, "item": paid_for.item_id},
    )
    return sum(
        tax for row in rows if not row["why"]["inclusive"]
        for position, tax in row["why"]["lines"] if position == row["position"]
    )  # fmt: skip
