"""Random lives of subscriptions: whatever the order of events, the books and the rules hold."""

from __future__ import annotations

import contextlib
import random
from datetime import timedelta

import pytest
from billing import CARD, DECLINES, Billing
from purchase import PROVE

from paydesk.errors import PaydeskError
from paydesk.flows import credits, subscription_pauses
from paydesk.flows import subscription_changes as changes
from paydesk.rules.money import USD


def play(billing: Billing, rng: random.Random, steps: int):
    """A customer who changes plans, spends, lets cards fail, pauses and comes back."""
    billing.plan("basic", price=USD("10.00"), credits=100, most_quantity=3)
    billing.plan("pro", price=USD("30.00"), credits=400, most_quantity=3)
    billing.plan("yearly", price=USD("200.00"), credits=100, interval="year")
    who = billing.user()
    sub = billing.subscribe(who, "basic")

    def spend():
        left = billing.balance(who)
        if left:
            amount = rng.randint(1, left)
            credits.spend_now(billing.env, credits.new_spend(who.uuid, amount, reason="work"))

    moves = [
        spend, spend,
        lambda: changes.change(billing.env, who.uuid, sub.id, at="now",
                               plan=rng.choice(["basic", "pro", "yearly"])),
        lambda: changes.change(billing.env, who.uuid, sub.id, quantity=rng.randint(1, 3)),
        lambda: billing.card(who, rng.choice([CARD, CARD, DECLINES])),
        lambda: subscription_pauses.pause(billing.env, who.uuid, sub.id),
        lambda: subscription_pauses.resume(billing.env, who.uuid, sub.id),
        lambda: changes.cancel(billing.env, who.uuid, sub.id),
        lambda: changes.reactivate(billing.env, who.uuid, sub.id),
    ]  # fmt: skip
    for _ in range(steps):
        with contextlib.suppress(PaydeskError):
            rng.choice(moves)()
        billing.until(billing.env.now() + timedelta(hours=rng.randint(1, 300)),
                      timedelta(days=4))  # fmt: skip
    return who, sub


# I13 I20 I21 I23 I24
@pytest.mark.prove
@pytest.mark.parametrize("number", range(12 if PROVE else 3))
def test_books_periods_and_access_hold_in_any_life(billing, seed, number):
    who, sub = play(billing, random.Random(f"{seed}-{number}"), 25 if PROVE else 12)
    paid = billing.all(
        "select (coalesce(sum(v.total_minor), 0) - coalesce((select sum(n.written_off_minor)"
        " from credit_notes n where n.customer_id = %(c)s and n.state = 'issued'), 0))::bigint"
        " as n from invoices v where v.customer_id = %(c)s and v.state = 'paid'",
        c=who.uuid)[0]["n"]  # fmt: skip
    assert billing.books(who, "revenue") == paid, "what was sold is what invoices say"
    captured = billing.all(
        "select coalesce(sum(captured_minor), 0)::bigint as n from payments"
        " where customer_id = %(c)s", c=who.uuid)[0]["n"]  # fmt: skip
    assert captured == paid + billing.books(who, "balance"), "nothing is lost on the way"
    cycles = [one[0] for one in billing.invoices(sub) if one[0] is not None]
    assert len(cycles) == len(set(cycles)), "one invoice for each period"
    one = billing.look(sub)
    if one.state in ("canceled", "expired", "paused", "unpaid"):
        assert not billing.can(who, f"tier:{one.plan_key}")
    elif one.state == "active":
        assert billing.can(who, f"tier:{one.plan_key}")
    sums = billing.all(
        "select v.id from invoices v join invoice_items i on i.customer_id = v.customer_id"
        " and i.invoice_id = v.id where v.customer_id = %(c)s group by v.id, v.total_minor"
        " having sum(i.amount_minor) <> v.total_minor", c=who.uuid)  # fmt: skip
    assert sums == []
