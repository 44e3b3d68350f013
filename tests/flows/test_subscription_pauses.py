"""Pauses of long periods: the months within them, and their credits, wait as the end does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from paydesk.flows import subscription_changes as changes
from paydesk.flows import subscription_pauses as pauses
from paydesk.rules.money import USD


def given(billing, who) -> list[datetime | None]:
    """When each batch ends, oldest first."""
    rows = billing.all(
        "select nullif(expires_at, 'infinity') as ends from batches where customer_id = %(c)s"
        " order by granted_at, id", c=who.uuid)  # fmt: skip
    return [row["ends"] for row in rows]


# S4.25 I23
@pytest.mark.parametrize("rollover", ["none", "all"])
def test_a_year_that_was_paused_gives_the_credits_of_each_of_its_months(billing, clock, rollover):
    """Paused for a hundred days in the middle of the third month, and for ten in the fifth."""

    def at(instant: datetime, count: int) -> None:
        clock.set(instant)
        billing.renew()
        assert len(given(billing, who)) == count

    firsts = [datetime(2026, month, 1, 12, tzinfo=UTC) for month in range(1, 13)]
    clock.set(firsts[0])
    billing.plan(price=USD("240.00"), interval="year", credits=100, credits_rollover=rollover)
    who = billing.user()
    sub = billing.subscribe(who)
    for count in (2, 3):
        at(firsts[count - 1], count)
    clock.set(firsts[2] + timedelta(days=14))
    pauses.pause(billing.env, who.uuid, sub.id)
    long = timedelta(days=100)
    at(firsts[2] + timedelta(days=14) + long, 3)
    pauses.resume(billing.env, who.uuid, sub.id)
    at(firsts[3] + long - timedelta(hours=1), 3)  # What the month had left comes first.
    at(firsts[3] + long, 4)
    at(firsts[4] + long, 5)
    clock.set(firsts[4] + long + timedelta(days=9))
    pauses.pause(billing.env, who.uuid, sub.id)
    both = timedelta(days=110)
    at(firsts[4] + both + timedelta(days=9), 5)
    pauses.resume(billing.env, who.uuid, sub.id)
    for count in range(6, 13):
        at(firsts[count - 1] + both - timedelta(hours=1), count - 1)
        at(firsts[count - 1] + both, count)
    last = datetime(2027, 1, 1, 12, tzinfo=UTC) + both
    assert billing.look(sub).period_end == last
    at(last - timedelta(hours=1), 12)
    assert billing.balance(who) == (100 if rollover == "none" else 1200)
    if rollover == "none":
        shifts = [timedelta(0)] * 2 + [long] + [both] * 8
        shifts[3] = long
        ends = [one + shift for one, shift in zip(firsts[1:], shifts, strict=True)]
        assert given(billing, who) == [*ends, last]
    at(last, 13)  # The next year gives from its own first day on.


# S1.29
def test_a_change_that_waits_is_taken_back_and_told(billing):
    billing.plan("team", price=USD("50.00"))
    billing.plan("pro")
    who = billing.user()
    sub = billing.subscribe(who, "team")
    changes.change(billing.env, who.uuid, sub.id, plan="pro")
    assert billing.look(sub).next["plan"] == "pro"
    changes.change(billing.env, who.uuid, sub.id, plan="team")
    assert (billing.look(sub).next, billing.look(sub).plan_key) == (None, "team")
    told = [row["data"] for row in billing.all(
        "select data from events where customer_id = %(c)s and type = 'subscription.updated'"
        " order by seq", c=who.uuid)]  # fmt: skip
    assert [(one["changed"], one.get("plan_next"), one["plan"]) for one in told] == [
        (["next"], "pro", "team"), (["next"], None, "team")]  # fmt: skip
    billing.until(sub.period_end)
    assert billing.invoices(sub) == [(0, "paid", 5000, 5000), (1, "paid", 5000, 5000)]
