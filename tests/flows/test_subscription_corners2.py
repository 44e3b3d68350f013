"""Corners of what is owed: invoices that are paid in another order, or late, or in a pause."""

from __future__ import annotations

from datetime import timedelta

import pytest
from billing import DECLINES, Billing

from paydesk.flows import due_batches, invoices


def owing_two(billing: Billing, **plan):
    """A weekly subscription that stands unpaid with two open invoices, for ten weeks."""
    billing.plan(interval="week", dunning={"days": [1, 3, 5, 7], "final": "unpaid"}, **plan)
    who = billing.user()
    sub = billing.subscribe(who)
    billing.card(who, DECLINES)
    billing.until(sub.period_end + timedelta(days=20))
    owed = billing.all(
        "select id from invoices where customer_id = %(c)s and state = 'open' order by created_at",
        c=who.uuid)  # fmt: skip
    assert (billing.look(sub).state, len(owed)) == ("unpaid", 2)
    billing.until(sub.period_end + timedelta(days=70))
    billing.reissue(billing.card(who, DECLINES), "visa")
    return who, sub, [row["id"] for row in owed]


# S1.58 I22 I23 I26
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["older first", "newer first"])
@pytest.mark.parametrize("rollover", ["none", "all"])
def test_two_owed_periods_are_paid_in_any_order_and_the_missed_ones_are_not_billed(
    billing, order, rollover
):
    who, sub, owed = owing_two(billing, credits=100, credits_rollover=rollover)
    for number in order:
        invoices.pay(billing.env, who.uuid, owed[number])
    after = billing.look(sub)
    assert (after.state, after.period_start) == ("active", billing.env.now())
    assert billing.can(who, "tier:pro")
    assert billing.balance(who) == (100 if rollover == "none" else 300)
    billing.renew()
    assert [one[1] for one in billing.invoices(sub)] == ["paid"] * 3
    billing.until(after.period_end + timedelta(hours=1))
    assert [one[1] for one in billing.invoices(sub)] == ["paid"] * 4


# S1.58 I22
def test_where_the_newest_was_voided_time_begins_anew_and_missed_periods_are_not_billed(billing):
    who, sub, owed = owing_two(billing)
    invoices.void(billing.env, who.uuid, owed[1])
    invoices.pay(billing.env, who.uuid, owed[0])
    billing.renew()
    after = billing.look(sub)
    assert (after.state, after.period_start) == ("active", billing.env.now())
    assert [one[1] for one in billing.invoices(sub)] == ["paid", "paid", "void", "paid"]
    assert billing.can(who, "tier:pro")


def test_rows_of_one_customer_stay_in_their_order_whatever_the_batches_are(monkeypatch):
    monkeypatch.setattr(due_batches, "SIZE", 3)
    rows = [{"customer_id": one, "id": (one, turn)} for turn in range(4) for one in range(8)]
    for _ in range(20):
        parts = due_batches._batches(rows)
        for keys in parts:
            assert len({customer for customer, _ in keys}) == len(keys) <= 3
        flat = [key for keys in parts for key in keys]
        assert sorted(key[1] for key in flat) == sorted(row["id"] for row in rows)
        for one in range(8):
            assert [key[1] for key in flat if key[0] == one] == [(one, t) for t in range(4)]
